use super::*;

fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.into(),
        value: value.into(),
    }
}

fn read(direction: Direction, message: v1::HeaderRules) -> Result<HeaderRules, Vec<String>> {
    let mut check = Checker::new("routes/r".into());
    let rules = HeaderRules::read(&mut check, direction, "f", Some(message));
    match rules {
        Some(rules) if check.is_clean() => Ok(*rules),
        _ => Err(check.finish().iter().map(ToString::to_string).collect()),
    }
}

fn setting(direction: Direction, name: &str, value: &str) -> Result<HeaderRules, Vec<String>> {
    let set = vec![header(name, value)];
    read(
        direction,
        v1::HeaderRules {
            set,
            ..Default::default()
        },
    )
}

fn removing(direction: Direction, name: &str) -> Result<HeaderRules, Vec<String>> {
    let remove = vec![name.into()];
    read(
        direction,
        v1::HeaderRules {
            remove,
            ..Default::default()
        },
    )
}

#[test]
fn rules_are_read_in_any_case() {
    let rules = read(
        Direction::Request,
        v1::HeaderRules {
            set: vec![header("X-Team", "core"), header("x-empty-inside", "a \t b")],
            add: vec![header("X-TAG", "1")],
            remove: vec!["Cookie".into()],
        },
    );
    let rules = rules.unwrap();
    let names: Vec<&str> = rules.names().map(HeaderName::as_str).collect();
    assert_eq!(names, ["cookie", "x-team", "x-empty-inside", "x-tag"]);
    assert_eq!(rules.set[0].1, "core");
}

#[test]
fn fields_the_proxy_answers_for_are_refused_each_way() {
    use Direction::{Request, Response};
    let page = include_str!("../../../../docs/headers.md");
    let host = [header::HOST];
    let both = OF_MESSAGE.iter().chain(&OF_HOP);
    let request = OF_REQUEST.iter().chain(&host);
    let cases = both
        .clone()
        .map(|name| (Request, name))
        .chain(both.map(|name| (Response, name)))
        .chain(request.map(|name| (Request, name)))
        .chain(OF_RESPONSE.iter().map(|name| (Response, name)));
    for (direction, name) in cases {
        let faults = removing(direction, name.as_str()).unwrap_err();
        assert!(faults[0].contains("f.remove[0]: ") && faults.len() == 1);
        assert!(setting(direction, name.as_str(), "1").is_err(), "{name}");
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    for (direction, name) in [
        (Response, "via"),
        (Response, "x-request-id"),
        (Response, "server"),
        (Request, "date"),
        (Request, "authorization"),
    ] {
        assert!(removing(direction, name).is_ok(), "{name}");
    }
    let host = removing(Request, "Host").unwrap_err();
    assert!(host[0].contains("forward.rewrite.host"), "{host:?}");
}

#[test]
fn a_field_is_named_once() {
    let twice = read(
        Direction::Response,
        v1::HeaderRules {
            set: vec![header("x-a", "1")],
            add: vec![header("X-A", "2")],
            remove: vec!["x-b".into(), "x-b".into()],
        },
    );
    assert_eq!(
        twice.unwrap_err(),
        [
            "routes/r: f.add[0].name: names x-a a second time: keep one",
            "routes/r: f.remove[1]: names x-b a second time: keep one",
        ]
    );
}

#[test]
fn values_that_no_field_carries_are_refused_and_not_shown() {
    for bad in [
        "",
        " secret",
        "secret\t",
        "sec\r\nret: x",
        "sec\0ret",
        "secrét",
        &"s".repeat(MAX_VALUE + 1),
    ] {
        let faults = setting(Direction::Request, "x-a", bad).unwrap_err();
        assert!(faults[0].contains("f.set[0].value: "), "{faults:?}");
        assert!(!faults[0].contains("sec"), "{faults:?}");
    }
    let longest = "s".repeat(MAX_VALUE);
    assert!(setting(Direction::Request, "x-a", &longest).is_ok());
}

#[test]
fn names_that_are_none_are_refused() {
    for bad in ["", ":authority", "a b", "x-ä", &"n".repeat(MAX_NAME + 1)] {
        let faults = setting(Direction::Request, bad, "1").unwrap_err();
        assert!(faults[0].contains("f.set[0].name: "), "{faults:?}");
    }
}

#[test]
fn rules_without_a_change_and_too_many_are_refused() {
    let faults = read(Direction::Request, v1::HeaderRules::default()).unwrap_err();
    assert!(faults[0].contains("changes nothing"), "{faults:?}");
    let named = |count| v1::HeaderRules {
        remove: (0..count).map(|index| format!("x-{index}")).collect(),
        ..Default::default()
    };
    assert!(read(Direction::Request, named(MAX_FIELDS)).is_ok());
    let faults = read(Direction::Request, named(MAX_FIELDS + 1)).unwrap_err();
    assert!(faults[0].contains("more than 64"), "{faults:?}");
}
