//! What the pages in `docs/` show is put in force as it stands there.

use std::{fs, net::SocketAddr, path::Path};

use super::{Server, fleetway};

/// Applies all YAML of a page, with the addresses in it replaced, and waits until it is live.
pub async fn apply_page(server: &Server, page: &str, places: &[(&str, SocketAddr)]) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(page);
    let text = fs::read_to_string(path).expect("the page");
    let blocks: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!blocks.is_empty(), "the YAML of {page} is found");
    let resources = places
        .iter()
        .fold(blocks.join("---\n"), |text, (from, to)| {
            assert!(text.contains(from), "{from} is in {page}");
            text.replace(from, &to.to_string())
        });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.yaml");
    fs::write(&file, resources).expect("written");
    let file = file.to_str().expect("a plain path");
    let applied = fleetway(server.rest, &["apply", "-f", file, "--wait"]).await;
    assert_eq!(applied.0, 0, "{applied:?}");
}

/// The first YAML of a page, with these texts, of many lines each, in place of what stands for them.
pub fn page_with_texts(page: &str, texts: &[(&str, &String)]) -> String {
    block_with_texts(page, 0, texts)
}

/// The same of block number `block` of its YAML.
pub fn block_with_texts(page: &str, block: usize, texts: &[(&str, &String)]) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(page);
    let page = fs::read_to_string(path).expect("the page");
    let rest = page.split("```yaml\n").nth(block + 1).expect("YAML");
    let (yaml, _) = rest.split_once("```").expect("its end");
    let mut filled = String::new();
    for line in yaml.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let text = texts.iter().find(|(name, _)| line.trim() == *name);
        for line in text.map_or(line.trim_start(), |(_, text)| text).lines() {
            filled += &format!("{indent}{line}\n");
        }
    }
    filled
}
