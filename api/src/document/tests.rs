use super::*;

const QUICKSTART: &str = "
kind: Listener
name: web
address: 0.0.0.0:8080
http: {}
---
# a comment, and an empty document after it
---
kind: Cluster
name: user-service
endpoints: [ { address: 10.0.0.1:8080, weight: 2 }, { address: '10.0.0.2:8080' } ]
---
kind: Route
name: users
match: { hosts: [api.example.com], path: { prefix: /api/v1/users }, methods: [GET, POST] }
forward: { clusters: [ { name: user-service, weight: 9 } ], timeout: 2s }
";

fn faults(text: &str) -> Vec<String> {
    read_all(text, Format::Yaml, "test.yaml")
        .unwrap_err()
        .faults
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn documents_are_read_from_yaml_and_json_alike() {
    let yaml = read_all(QUICKSTART, Format::Yaml, "test.yaml").unwrap();
    let ids: Vec<String> = yaml
        .iter()
        .map(|(document, _)| document.id.to_string())
        .collect();
    assert_eq!(
        ids,
        ["listeners/web", "clusters/user-service", "routes/users"]
    );
    let values: Vec<Value> = yaml
        .iter()
        .map(|(document, _)| write(&document.message, None))
        .collect();
    let json = read_all(&to_text(&values, Format::Json), Format::Json, "test.json").unwrap();
    let again = read_all(&to_text(&values, Format::Yaml), Format::Yaml, "again.yaml").unwrap();
    for ((one, two), three) in yaml.iter().zip(&json).zip(&again) {
        assert_eq!(one.0.message, two.0.message);
        assert_eq!(one.0.message, three.0.message);
    }
}

#[test]
fn every_fault_of_shape_is_named_with_its_path() {
    assert_eq!(
        faults(
            "{kind: Route, name: users, match: {path: {prefx: /a}, methods: GET}, forward: {timeout: 5, clusters: [{nme: x}]}}"
        ),
        [
            "routes/users: match.path.prefx: unknown field \"prefx\", expected one of \"exact\", \"prefix\", \"template\", \"regex\"",
            "routes/users: match.methods: invalid type: string \"GET\", expected a list",
            "routes/users: forward.timeout: invalid type: integer \"5\", expected a duration such as \"250ms\", \"2s\" or \"1m30s\"",
            "routes/users: forward.clusters[0].nme: unknown field \"nme\", expected \"name\" or \"weight\"",
        ]
    );
}

#[test]
fn a_value_that_is_none_of_a_choice_is_named_with_those_that_are() {
    for (value, says) in [
        ("TLS_1_1", "\"TLS_1_1\" is not TLS_1_2 or TLS_1_3"),
        ("7", "7 is not TLS_1_2 or TLS_1_3"),
        ("-1", "-1 is not TLS_1_2 or TLS_1_3"),
        ("1.3", "1.3 is not TLS_1_2 or TLS_1_3"),
        ("true", "true is not TLS_1_2 or TLS_1_3"),
        ("[TLS_1_3]", "a list is not TLS_1_2 or TLS_1_3"),
        ("{}", "an object is not TLS_1_2 or TLS_1_3"),
    ] {
        let text = format!("{{kind: Cluster, name: c, tls: {{min_version: {value}}}}}");
        let expected = format!("clusters/c: tls.min_version: {says}");
        assert_eq!(faults(&text), [expected], "{value}");
    }
    assert_eq!(
        faults("{kind: Listener, name: l, tls: {client_certificates: {mode: NEVER}}}"),
        ["listeners/l: tls.client_certificates.mode: \"NEVER\" is not REQUIRED or OPTIONAL"]
    );
}

#[test]
fn a_document_without_a_usable_kind_or_name_is_looked_at_all_the_same() {
    assert_eq!(
        faults("{kind: Cluster, metadata: {name: x}, meta: {version: x}, pool: {max_idl: 1}}"),
        [
            "test.yaml, document 1: meta.version: \"x\" is not a version: a decimal number",
            "test.yaml, document 1: name: is missing: every resource needs a name",
            "test.yaml, document 1: metadata: unknown field \"metadata\", expected one of \"name\", \"fleets\", \"labels\", \"endpoints\", \"tls\", \"proxy_protocol\", \"connect_timeout\", \"pool\", \"protocol\"",
            "test.yaml, document 1: pool.max_idl: unknown field \"max_idl\", expected \"idle_timeout\" or \"max_idle\"",
        ]
    );
    assert_eq!(
        faults("[{kind: cluster, name: 5}, {kind: routes, name: a, mach: {}}]")
            .iter()
            .map(|fault| fault.split(" \"mach\"").next().unwrap())
            .collect::<Vec<_>>(),
        [
            "test.yaml, document 1: kind: is written Cluster, not \"cluster\"",
            "test.yaml, document 1: name: must be a string",
            "routes/a: kind: is written Route, not \"routes\"",
            "routes/a: mach: unknown field",
        ]
    );
}

#[test]
fn what_is_invalid_is_kept_apart_from_what_is_not() {
    let text = "{kind: Cluster, name: a}\n---\n{kind: Cluster, name: b, x: 1}\n---\n{x: 1}\n";
    let faulty = read_all(text, Format::Yaml, "test.yaml").unwrap_err();
    assert_eq!(faulty.valid.len(), 1);
    let ids: Vec<_> = faulty.invalid.iter().map(id_in).collect();
    let b = Id::new(Kind::Cluster, Name::new("b").unwrap());
    assert_eq!(ids, [Some(b), None]);
}

#[test]
fn every_fault_of_content_is_named_with_its_path_and_remedy() {
    assert_eq!(
        faults(
            "{kind: Route, name: users, match: {path: {prefix: api}, hosts: ['a:80']}, forward: {clusters: [], timeout: 25h}}"
        ),
        [
            "routes/users: match.hosts[0]: \"a:80\": leave the port out, hosts match on every port",
            "routes/users: match.path.prefix: must begin with \"/\"",
            "routes/users: forward.clusters: is empty: name the cluster to send requests to",
            "routes/users: forward.timeout: must be between 1ms and 24h, or 0s for no limit",
        ]
    );
    assert_eq!(
        faults("{kind: Listener, name: web, address: 'localhost:80', http: {idle_timeout: 1ms}}"),
        [
            "listeners/web: address: \"localhost:80\" is not IP:PORT, such as 127.0.0.1:8080 or [::1]:8080 (host names are not resolved)",
            "listeners/web: http.idle_timeout: must be between 1s and 24h",
        ]
    );
}

#[test]
fn a_key_given_twice_is_refused_with_its_place() {
    let yaml = faults("kind: Route\nname: a\nname: b\n").remove(0);
    assert!(
        yaml.starts_with("test.yaml: not well-formed YAML: line 3, column 1"),
        "{yaml}"
    );
    let json = parse(r#"{"kind": "Route", "kind": "Route"}"#, Format::Json).unwrap_err();
    assert!(
        json.message
            .contains("the key \"kind\" is there twice at line 1"),
        "{json}"
    );
}

#[test]
fn a_tag_that_means_nothing_here_is_refused_with_its_place() {
    let text = "kind: Cluster\nname: !env NAME\n";
    let fault = faults(text).remove(0);
    assert!(
        fault.starts_with("test.yaml: not well-formed YAML: line 2") && fault.contains("!env"),
        "{fault}"
    );
    assert!(read_all("{kind: Cluster, name: !!str a}", Format::Yaml, "test.yaml").is_ok());
}

#[test]
fn kind_and_name_may_be_left_out_where_they_are_known_and_must_agree() {
    let expected = Expected {
        kind: Some(Kind::Cluster),
        name: Some("a"),
    };
    let read_it = |text: &str| {
        let document = parse(text, Format::Yaml).unwrap().remove(0);
        read(document, expected, "body")
            .map(|document| document.id.to_string())
            .map_err(|error| error.first().map(ToString::to_string).unwrap_or_default())
    };
    assert_eq!(read_it("{endpoints: []}"), Ok("clusters/a".into()));
    assert_eq!(read_it("{kind: Cluster, name: a}"), Ok("clusters/a".into()));
    assert_eq!(
        read_it("{kind: Route}"),
        Err("body: kind: is Route but the path says Cluster".into())
    );
    assert_eq!(
        read_it("{name: b}"),
        Err("body: name: is \"b\" but the path says \"a\"".into())
    );
}

#[test]
fn the_version_of_a_read_makes_the_write_conditional() {
    let text = "{kind: Cluster, name: a, meta: {version: '42', revision: '50', updated_by: x}}";
    let document = parse(text, Format::Yaml).unwrap().remove(0);
    assert_eq!(
        read(document, Expected::default(), "body")
            .unwrap()
            .if_version,
        Some(42)
    );
    let bad = parse("{kind: Cluster, name: a, meta: {version: x}}", Format::Yaml)
        .unwrap()
        .remove(0);
    assert!(read(bad, Expected::default(), "body").is_err());
}

#[test]
fn two_fields_of_which_only_one_can_be_are_named() {
    let says = "is set beside another of which only one can be: take one of them out";
    let both = faults(
        "{kind: Route, name: users, match: {path: {prefix: /a, exact: /b}}, respond: {status: 200}}",
    );
    assert_eq!(both, [format!("routes/users: match.path.exact: {says}")]);
    let both = faults("{kind: Route, name: users, redirect: {host: a}, respond: {status: 200}}");
    assert_eq!(both, [format!("routes/users: respond: {says}")]);
}

#[test]
fn a_request_body_holds_one_document() {
    assert!(parse_one("{}", Format::Json).is_ok());
    assert!(parse_one("a: 1", Format::Yaml).is_ok());
    assert!(parse_one("[{}]", Format::Json).unwrap().is_array());
    for (text, says) in [
        ("", "holds no document"),
        ("{}\n---\n{}", "holds 2 documents"),
    ] {
        let error = parse_one(text, Format::Yaml).unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn an_operation_of_a_transaction_is_read_strictly() {
    use crate::rest::Operation;
    let read = |text: &str| Operation::read(serde_json::from_str(text).unwrap());
    let id = read(r#"{"delete": {"kind": "Route", "name": "users"}}"#).unwrap();
    assert_eq!(id.delete.unwrap().to_string(), "routes/users");
    for (text, field) in [
        (
            r#"{"delete": {"kind": "Route", "name": "users", "x": 1}}"#,
            "delete.x",
        ),
        (
            r#"{"delete": {"kind": "Rout", "name": "users"}}"#,
            "delete.kind",
        ),
        (
            r#"{"delete": {"kind": "Route", "name": "-"}}"#,
            "delete.name",
        ),
        (r#"{"drop": {}}"#, "drop"),
    ] {
        assert_eq!(read(text).unwrap_err().0, field);
    }
}

#[test]
fn of_a_name_that_is_not_known_only_the_beginning_is_quoted() {
    let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg".repeat(3);
    let start = &key[..64];
    for text in [
        format!("{{kind: Secret, name: s, {key}: 1}}"),
        format!("{{kind: Secret, name: s, ca: {{{key}: 1}}}}"),
        format!("{{kind: Route, name: s, labels: {{'{key}': a}}}}"),
        format!("{{kind: {key}, name: s}}"),
        format!("{{{key}: 1, {key}: 2}}"),
    ] {
        let told = faults(&text).join("\n");
        assert!(told.contains(&format!("{start}…")), "{told}");
        assert!(!told.contains(&key[..65]), "{told}");
    }
    let told = faults("{kind: Route, name: r, \"one\\nMIGH\": 1}").join("\n");
    assert!(told.contains("unknown field \"one…\""), "{told}");
    assert!(!told.contains("MIGH"), "{told}");
}

#[test]
fn aliases_that_stand_for_much_are_refused_before_they_are_followed() {
    let ten = |of: &str| [of; 9].join(", ");
    let mut bomb = format!("a: &a [{}]\n", ten("x"));
    for (one, next) in "abcdefghi".chars().zip("bcdefghij".chars()) {
        let aliases = ten(&format!("*{one}"));
        bomb.push_str(&format!("{next}: &{next} [{aliases}]\n"));
    }
    assert!(bomb.len() < 600);
    let scalar = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(100_000),
        ["*a"; 900].join(", ")
    );
    // Anchors within anchors: each keeps all that is in it.
    let nested: String = (0..60).map(|n| format!("&a{n} [")).collect();
    let nested = format!("{nested}{}{}", "x, ".repeat(10_000), "]".repeat(60));
    let inside = format!("&a [{}]", "x, ".repeat(200_000));
    for text in [bomb, scalar, nested, inside] {
        let told = parse(&text, Format::Yaml).unwrap_err().to_string();
        assert!(told.contains("aliases"), "{told}");
    }
    let few = "a: &a {max_requests: 5}\nb: [*a, *a, *a]\n";
    assert_eq!(
        parse(few, Format::Yaml).unwrap()[0]["b"][2]["max_requests"],
        5
    );
}
