//! What changed between two documents, as a unified diff of their YAML.

use fleetway_api::document::{self, Format};
use serde_json::Value;
use similar::TextDiff;

/// The lines that differ, with three lines around them. `meta` is left out: it always differs.
pub(crate) fn unified(before: Option<&Value>, after: Option<&Value>) -> String {
    of_texts(&text(before), &text(after))
}

/// The same of two texts.
pub(crate) fn of_texts(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .missing_newline_hint(false)
        .to_string()
}

fn text(document: Option<&Value>) -> String {
    let Some(mut document) = document.cloned() else {
        return String::new();
    };
    if let Value::Object(fields) = &mut document {
        fields.shift_remove("meta");
    }
    document::to_text(&[document], Format::Yaml)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changed_is_shown_and_meta_never() {
        let before =
            json!({"kind": "Cluster", "name": "a", "labels": {"x": "1"}, "meta": {"version": "1"}});
        let mut after = before.clone();
        after["meta"]["version"] = "2".into();
        assert_eq!(unified(Some(&before), Some(&after)), "");
        after["labels"]["x"] = "2".into();
        let diff = unified(Some(&before), Some(&after));
        assert!(diff.contains("\n-  x: \"1\"\n+  x: \"2\"\n"), "{diff}");
        assert!(unified(None, Some(&after)).contains("+kind: Cluster\n"));
    }
}
