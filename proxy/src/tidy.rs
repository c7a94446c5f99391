//! Holds the direction in which the modules of this crate may use each other.

use std::{collections::BTreeMap, fs, path::Path};

/// From the outside in: a module uses only those after it.
const ORDER: [&str; 29] = [
    "app",
    "admin",
    "handover",
    "runtime",
    "worker",
    "listener",
    "connection",
    "http",
    "snapshot",
    "policy",
    "route",
    "access_log",
    "upstream",
    "cluster",
    "tls",
    "admission",
    "overload",
    "http1",
    "http2",
    "relay",
    "proxy_protocol",
    "telemetry",
    "config",
    "state",
    "address",
    "date",
    "clock",
    "held",
    "sending",
];

/// What sees less than its place would allow.
const ONLY: [(&str, &[&str]); 2] = [
    ("xds", &["snapshot", "xds"]),
    (
        "admin",
        &["admin", "runtime", "snapshot", "telemetry", "xds"],
    ),
];

/// What sees more: the whole is put together there.
const ALL_SEEING: &str = "app";

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
}

/// The modules that `text` names after `crate::`.
fn uses(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for part in text.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            None => found.push(word(part)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && c.is_ascii_alphabetic() => {
                            found.push(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

#[test]
fn modules_use_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let place: BTreeMap<&str, usize> = ORDER
        .iter()
        .enumerate()
        .map(|(place, name)| (*name, place))
        .collect();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if matches!(module.as_str(), "lib" | "main" | "tidy" | "fuzz") || module == ALL_SEEING {
            continue;
        }
        let mut texts = Vec::new();
        if path.is_dir() {
            sources(&path, &mut texts);
        } else {
            texts.push((
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
        for (file, text) in texts {
            for used in uses(&text) {
                let only = ONLY
                    .iter()
                    .find(|(name, _)| *name == module)
                    .map(|(_, only)| *only);
                let allowed = used == module
                    || match only {
                        Some(only) => only.contains(&used.as_str()),
                        None => match (place.get(module.as_str()), place.get(used.as_str())) {
                            (Some(here), Some(there)) => here < there,
                            _ => false,
                        },
                    };
                if !allowed {
                    wrong.push(format!("{file}: {module} must not use {used}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
