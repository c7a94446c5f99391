//! Probes as they were built for released versions of the ABI: what those promised still holds.
//!
//! `testdata/policies/abi/VERSION/probe.wasm` is a copy of the Rust probe as it was when the version
//! was released. It is never built anew, so it is not among what `make policies-check` builds.

use std::fs;

use fleetway_policy_runtime::Program;

use super::{Probe, abi_1_0_0};
use crate::support::{committed, runtime};

#[tokio::test]
async fn what_a_released_version_promised_still_holds() {
    let folder = committed().join("abi");
    let entries = fs::read_dir(&folder).expect("the probes of released versions");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut versions: Vec<String> = names
        .map(|name| name.into_string().expect("a version"))
        .collect();
    versions.sort();
    assert!(
        versions.iter().any(|version| version == "1.0.0"),
        "{versions:?}"
    );
    for version in versions {
        println!("probe of {version}");
        let wasm = fs::read(folder.join(&version).join("probe.wasm")).expect("a component");
        let program = Program::compile(runtime(), &wasm).expect("it is still taken");
        let abi = format!("@{version}");
        let imports = &program.description().imports;
        assert!(
            imports.iter().any(|name| name.ends_with(&abi)),
            "{imports:?}"
        );
        let probe = Probe(program);
        assert!(
            version.starts_with("1."),
            "{version}: say what it has brought"
        );
        Box::pin(abi_1_0_0::all(&probe)).await;
    }
}
