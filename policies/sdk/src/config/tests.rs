use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(rename = "a/b")]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    Set { name: String },
}

fn at(json: &str) -> (String, String) {
    let fault = read::<Config>(json).unwrap_err();
    (fault.path, fault.message)
}

#[test]
fn a_fault_points_at_the_field() {
    let (path, message) = at(r#"{"a/b":[{"set":{"name":"x"}},{"set":{"name":7}}]}"#);
    assert_eq!(path, "/a~1b/1/set/name");
    assert_eq!(message, "invalid type: integer `7`, expected a string");
    assert_eq!(
        read::<Config>(r#"{"a/b":[{"set":{"name":"x"}}]}"#)
            .unwrap()
            .rules
            .len(),
        1
    );
    let Rule::Set { name } = &read::<Config>(r#"{"a/b":[{"set":{"name":"x"}}]}"#)
        .unwrap()
        .rules[0];
    assert_eq!(name, "x");
}

#[test]
fn an_unknown_field_is_a_fault() {
    let (path, message) = at(r#"{"a/b":[],"c":1}"#);
    assert_eq!(path, "/c");
    assert_eq!(message, "unknown field `c`, expected `a/b`");
}

#[test]
fn text_that_is_not_json_is_a_fault_of_the_whole_with_its_position() {
    let (_, message) = at("{");
    assert!(message.contains("line 1 column 1"), "{message}");
    let (path, message) = at(r#"{"a/b":[]} x"#);
    assert_eq!(
        (path.as_str(), message.as_str()),
        ("", "trailing characters at line 1 column 12")
    );
}

#[test]
fn no_configuration_takes_only_an_empty_object() {
    assert!(read::<NoConfig>("{}").is_ok());
    assert_eq!(read::<NoConfig>(r#"{"a":1}"#).unwrap_err().path, "/a");
}
