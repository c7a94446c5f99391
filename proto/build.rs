//! Generates the Rust types from `fleetway/v1/*.proto`: prost for the wire, pbjson for JSON.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 10] = [
    "fleetway/v1/common.proto",
    "fleetway/v1/tls.proto",
    "fleetway/v1/component.proto",
    "fleetway/v1/policy.proto",
    "fleetway/v1/listener.proto",
    "fleetway/v1/route.proto",
    "fleetway/v1/cluster.proto",
    "fleetway/v1/endpoints.proto",
    "fleetway/v1/secret.proto",
    "fleetway/v1/revision.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=fleetway");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Source information stays in: the comments are the documentation of the JSON schemas.
    let mut compiler = protox::Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;
    let descriptors = compiler.file_descriptor_set();
    let encoded = descriptors.encode_to_vec();
    fs::write(out.join("descriptors.bin"), &encoded)?;

    prost_build::Config::new()
        .extern_path(".google.protobuf.Duration", "crate::Duration")
        .extern_path(".google.protobuf.Struct", "crate::Struct")
        .btree_map(["."])
        // Shared, as they are large.
        .bytes([".fleetway.v1.Component.wasm"])
        // Written by hand: what is private shows in no log.
        .skip_debug([".fleetway.v1.Certificate", ".fleetway.v1.Component"])
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .extern_path(".google.protobuf.Duration", "crate::Duration")
        .extern_path(".google.protobuf.Struct", "crate::Struct")
        .btree_map(["."])
        .preserve_proto_field_names()
        .exclude([".google.protobuf"])
        .build(&[".fleetway.v1"])?;
    Ok(())
}
