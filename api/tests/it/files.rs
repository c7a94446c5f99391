//! Which files a path stands for.

use std::{fs, path::Path};

use fleetway_api::files::read_files;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn cluster(name: &str) -> String {
    format!("kind: Cluster\nname: {name}\n")
}

/// The names of the resources read, or the faults without the folder's own path.
fn read(root: &Path, paths: &[&str]) -> Result<Vec<String>, Vec<String>> {
    let paths: Vec<_> = paths.iter().map(|path| root.join(path)).collect();
    match read_files(&paths) {
        Ok(documents) => Ok(documents
            .iter()
            .map(|(_, document, _)| document.id.name.to_string())
            .collect()),
        Err(faulty) => Err(faulty
            .faults
            .iter()
            .map(|fault| {
                fault
                    .to_string()
                    .replace(&format!("{}/", root.display()), "")
            })
            .collect()),
    }
}

#[test]
fn a_folder_is_read_with_all_below_it_in_order_without_what_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, "in/b.yaml", &cluster("b"));
    put(root, "in/a.yml", &cluster("a"));
    put(
        root,
        "in/c/d.json",
        "{\"kind\": \"Cluster\", \"name\": \"d\"}",
    );
    put(root, "in/c/E.YAML", &cluster("e"));
    put(root, "in/.hidden.yaml", "not read");
    put(root, "in/..data/f.yaml", "not read");
    put(root, "in/README.md", "not read");
    put(root, "in/x.yaml~", "not read");
    put(root, "in/empty.yaml", "# nothing yet\n");
    assert_eq!(read(root, &["in"]).unwrap(), ["a", "b", "e", "d"]);
}

#[test]
fn a_file_that_is_named_is_read_whatever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, ".hidden", &cluster("a"));
    put(root, "b.txt", "{\"kind\":\t\"Cluster\", \"name\": \"b\"}");
    assert_eq!(read(root, &["b.txt", ".hidden"]).unwrap(), ["b", "a"]);
}

#[test]
fn the_same_resource_twice_is_a_fault_that_names_both_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, "one.yaml", &cluster("a"));
    put(
        root,
        "two.yaml",
        &format!("{}---\n{}", cluster("b"), cluster("a")),
    );
    assert_eq!(
        read(root, &["one.yaml", "two.yaml"]).unwrap_err(),
        ["two.yaml: clusters/a: is in one.yaml too: leave it out of one of the files"]
    );
    assert_eq!(
        read(root, &["one.yaml", "."]).unwrap_err().len(),
        2,
        "once by its name, once in the folder"
    );
}

#[test]
fn every_fault_of_every_file_is_told_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(
        root,
        "in/a.yaml",
        "kind: Cluster\nname: a\nconnect_timeout: 0s\n---\nname: x\n",
    );
    put(root, "in/b.yaml", "kind: [");
    put(root, "in/c.yaml", &cluster("c"));
    fs::write(root.join("in/d.yaml"), [0xff, 0xfe]).unwrap();
    let faults = read(root, &["in", "missing"]).unwrap_err();
    assert_eq!(faults.len(), 5, "{faults:#?}");
    for wanted in [
        "missing: cannot be read: No such file",
        "in/d.yaml: cannot be read: ",
        "in/a.yaml: clusters/a: connect_timeout: must be between 1ms and 5m",
        "in/a.yaml, document 2: kind: is missing",
        "in/b.yaml: not well-formed YAML: ",
    ] {
        assert!(
            faults.iter().any(|fault| fault.starts_with(wanted)),
            "{wanted} is not in {faults:#?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn links_to_files_are_read_and_links_to_folders_are_not() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, "..data/a.yaml", &cluster("a"));
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    symlink(".", root.join("round")).unwrap();
    assert_eq!(read(root, &["."]).unwrap(), ["a"]);
    symlink("gone.yaml", root.join("b.yaml")).unwrap();
    let faults = read(root, &["."]).unwrap_err();
    assert!(faults[0].contains("b.yaml: cannot be read"), "{faults:?}");
}
