//! `policy new`: a package to begin a policy with.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;

use super::fault;
use crate::{args::New, output::Output};

/// The files, with what is put in place of `{{name}}` and `{{sdk}}` in them.
const FILES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("scaffold/lib.rs.txt")),
    ("build.sh", include_str!("scaffold/build.sh.txt")),
    ("README.md", include_str!("scaffold/README.md.txt")),
    ("config.json", include_str!("scaffold/config.json.txt")),
    ("request.http", include_str!("scaffold/request.http.txt")),
    (".gitignore", "/target\n*.wasm\n"),
];
/// Names that no package can have, or none that is built.
const RESERVED: [&str; 50] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
];
/// The crate's package.
const SDK: &str = "fleetway-policy";

pub(super) fn run(args: &New, output: &mut Output) -> anyhow::Result<()> {
    check_name(&args.name)?;
    let sdk = dependency(args.sdk.as_deref())?;
    let folder = match &args.path {
        Some(path) => path.clone(),
        None => PathBuf::from(&args.name),
    };
    check_empty(&folder)?;
    for (name, text) in FILES {
        let text = text
            .replace("{{name}}", &args.name)
            .replace("{{sdk}}", &sdk);
        write(&folder.join(name), &text)?;
    }
    if !output.is_table() {
        let files: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        return output.body(&json!({"path": folder, "files": files}));
    }
    let to = folder.display();
    output.line(&format!(
        "made {to}: README.md tells how to test, build and push it"
    ))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    let ends = name
        .bytes()
        .last()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    anyhow::ensure!(
        begins && ends && name.len() <= 64 && name.bytes().all(is_plain),
        "\"{name}\" cannot be its name: write up to 64 of `a-z`, `0-9`, `-` and `_`, beginning with a letter and ending with a letter or digit"
    );
    anyhow::ensure!(
        name != SDK && !RESERVED.contains(&name.replace('-', "_").as_str()),
        "\"{name}\" cannot be its name: it has a meaning in Rust, or is that of a crate it uses"
    );
    Ok(())
}

/// Where the package takes the SDK from, in its manifest.
fn dependency(sdk: Option<&Path>) -> anyhow::Result<String> {
    let Some(given) = sdk else {
        return Ok(format!(r#"git = "{}""#, env!("CARGO_PKG_REPOSITORY")));
    };
    let manifest = fs::read_to_string(given.join("Cargo.toml"));
    let is_sdk = manifest.is_ok_and(|text| {
        let mut lines = text.lines();
        lines.any(|line| line.trim() == format!("name = \"{SDK}\""))
    });
    if !is_sdk {
        let message = format!(
            "is not the folder of the crate {SDK}: name policies/sdk in Fleetway's repository"
        );
        return Err(fault(given, "", message).into());
    }
    let path = fs::canonicalize(given)
        .with_context(|| format!("--sdk: cannot read {}", given.display()))?;
    let path = path.to_str().context("--sdk: the path is no text")?;
    // Strings of JSON are strings of TOML.
    Ok(format!("path = {}", serde_json::to_string(path)?))
}

/// Nothing is written over.
fn check_empty(folder: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", folder.display());
    match fs::read_dir(folder) {
        Ok(mut there) => anyhow::ensure!(
            there.next().is_none(),
            "there is something in {} already: name another folder with --path",
            folder.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(cannot),
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    fs::write(path, text).with_context(cannot)?;
    #[cfg(unix)]
    if path.extension().is_some_and(|ending| ending == "sh") {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(cannot)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_packages_that_build() {
        for name in ["a", "my-policy", "v2_x", "testing"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "A",
            "2a",
            "a b",
            "a.b",
            "-a",
            "a-",
            "../a",
            "test",
            "proc-macro",
            SDK,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
