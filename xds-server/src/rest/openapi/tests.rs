use std::collections::BTreeSet;

use fleetway_api::{
    FieldError, Id, Kind, Name,
    rest::{
        Code, Node, NodeError, NodeState, NodeType, Operation, OperationResult, Outcome, Page,
        Pending, Problem, RevisionChange, RevisionDetail, RevisionStatus, RevisionSummary,
        ServerVersion, TransactionRequest, TransactionResponse, WaitingNode,
    },
};
use serde::Serialize;

use super::*;

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_endpoint_is_documented_and_nothing_else() {
    let served: BTreeSet<String> = endpoints()
        .iter()
        .map(|endpoint| format!("{} {}", endpoint.method, endpoint.path))
        .collect();
    let document = document().unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in keys(methods) {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(served, documented);
}

#[test]
fn the_headers_of_answers_are_documented() {
    let document = document().unwrap();
    for (path, method, status, names) in [
        ("/v1/routes/{name}", "get", "200", "etag"),
        ("/v1/routes/{name}", "get", "304", "etag"),
        (
            "/v1/routes/{name}",
            "put",
            "200",
            "etag x-fleetway-revision",
        ),
        (
            "/v1/routes/{name}",
            "put",
            "201",
            "etag location x-fleetway-revision",
        ),
        ("/v1/routes/{name}", "delete", "200", "x-fleetway-revision"),
        ("/v1/transactions", "post", "200", "x-fleetway-revision"),
    ] {
        let headers = &document["paths"][path][method]["responses"][status]["headers"];
        let found: Vec<String> = keys(headers).into_iter().collect();
        assert_eq!(found.join(" "), names, "{method} {path} {status}");
    }
}

#[test]
fn every_reference_has_a_schema_and_every_schema_is_referred_to() {
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    found.insert(target.replace("#/components/schemas/", ""));
                }
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let document = document().unwrap();
    let mut referred = BTreeSet::new();
    collect(&document, &mut referred);
    assert_eq!(referred, keys(&document["components"]["schemas"]));
}

#[test]
fn operation_ids_are_unique_and_path_parameters_are_declared() {
    let document = document().unwrap();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{operation}"
            );
            let declared: BTreeSet<String> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                .collect();
            let in_path: BTreeSet<String> = path
                .split('/')
                .filter(|segment| segment.starts_with('{'))
                .map(str::to_owned)
                .collect();
            assert_eq!(declared, in_path, "{path}");
        }
    }
}

#[test]
fn messages_carry_their_comments_and_are_closed() {
    let schemas = messages::schemas().unwrap();
    for internal in ["Revision", "Change", "Resource"] {
        assert!(!schemas.contains_key(internal));
    }
    for (name, schema) in &schemas {
        assert_ne!(schema["description"], "", "{name}");
        if let Some(words) = schema["enum"].as_array() {
            let absent = |word: &Value| word.as_str().is_some_and(|w| w.ends_with("UNSPECIFIED"));
            assert!(!words.iter().any(absent), "{name}");
            continue;
        }
        assert_eq!(schema["additionalProperties"], false, "{name}");
        for (field, schema) in schema["properties"].as_object().unwrap() {
            let described = schema.get("description").is_some() || field == "meta";
            assert!(described, "{name}.{field} has no description");
        }
    }
    let route = &schemas["Route"];
    assert_eq!(route["properties"]["kind"]["const"], "Route");
    assert_eq!(
        route["allOf"][0]["oneOf"],
        json!([{"required": ["forward"]}, {"required": ["redirect"]}, {"required": ["respond"]}])
    );
    assert_eq!(
        route["properties"]["labels"]["additionalProperties"],
        json!({"type": "string"})
    );
    let rewrite = schemas["Rewrite"]["allOf"][0]["oneOf"].as_array().unwrap();
    assert_eq!(rewrite.len(), 3, "none set is allowed too");
    let timeout = &schemas["Forward"]["properties"]["timeout"];
    assert_eq!(timeout["type"], "string");
    assert!(timeout["pattern"].is_string());
    let weight = &schemas["Endpoint"];
    assert!(weight.get("allOf").is_none(), "optional is no choice");
}

/// Checks that the keys of a value with every optional part filled are those of its schema.
fn agree(name: &str, value: &impl Serialize) {
    let schemas = types::schemas();
    let schema = &schemas[name];
    let value = serde_json::to_value(value).unwrap();
    assert_eq!(keys(&value), keys(&schema["properties"]), "{name}");
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{name}");
    }
}

fn users() -> Id {
    Id::new(Kind::Route, Name::new("users").unwrap())
}

fn text() -> String {
    String::new()
}

#[test]
fn what_is_served_of_the_log_has_the_keys_of_its_schema() {
    let id = users();
    let summary = || RevisionSummary {
        revision: 1,
        time: text(),
        author: text(),
        message: text(),
        changed: 1,
    };
    let change = RevisionChange {
        id,
        outcome: Outcome::Updated,
        before: Some(Value::Null),
        after: Some(Value::Null),
    };
    let waiting = WaitingNode {
        id: text(),
        fleet: text(),
        state: NodeState::Pending,
        live_revision: Some(1),
        reason: text(),
    };
    agree("RevisionSummary", &summary());
    agree("RevisionChange", &change);
    agree("WaitingNode", &waiting);
    agree(
        "RevisionDetail",
        &RevisionDetail {
            summary: summary(),
            changes: vec![change],
        },
    );
    agree(
        "RevisionStatus",
        &RevisionStatus {
            revision: 1,
            live: true,
            nodes: 1,
            nodes_live: 1,
            waiting: vec![waiting],
            refused: false,
        },
    );
}

#[test]
fn what_is_served_of_nodes_and_the_server_has_the_keys_of_its_schema() {
    let pending = Pending {
        revision: 1,
        since: text(),
    };
    let error = NodeError {
        revision: 1,
        time: text(),
        message: text(),
    };
    let subscription = NodeType {
        type_url: text(),
        acknowledged: None,
        names: Some(1),
    };
    agree("Pending", &pending);
    agree("NodeError", &error);
    agree("NodeType", &subscription);
    agree("ServerVersion", &ServerVersion { version: text() });
    agree(
        "Node",
        &Node {
            id: text(),
            fleet: text(),
            address: text(),
            build: text(),
            connected: true,
            since: text(),
            state: NodeState::Live,
            live_revision: Some(1),
            lag: Some(0),
            pending: Some(pending),
            last_error: Some(error),
            types: vec![subscription],
            failing_policies: vec![fleetway_api::rest::FailingPolicy {
                policy: "p".to_owned(),
                since: "2026-01-01T00:00:00Z".to_owned(),
                cause: "trap".to_owned(),
                message: "it trapped".to_owned(),
            }],
            protocol_errors: 0,
        },
    );
}

#[test]
fn what_is_served_of_writes_has_the_keys_of_its_schema() {
    let id = users();
    let result = OperationResult {
        id: id.clone(),
        outcome: Outcome::Created,
    };
    let fault = FieldError::new("routes/users", "match", "bad");
    agree("Id", &id);
    agree("OperationResult", &result);
    agree("FieldError", &fault);
    agree(
        "RoutePage",
        &Page::<Value> {
            items: Vec::new(),
            next_page_token: Some(text()),
            revision: 1,
        },
    );
    agree(
        "Operation",
        &Operation {
            put: Some(Value::Null),
            delete: Some(id.clone()),
            if_version: Some("1".into()),
        },
    );
    agree(
        "TransactionRequest",
        &TransactionRequest {
            message: "why".into(),
            operations: Vec::new(),
        },
    );
    agree(
        "TransactionResponse",
        &TransactionResponse {
            revision: 1,
            dry_run: false,
            results: vec![result],
        },
    );
    agree(
        "Problem",
        &Problem {
            type_uri: text(),
            title: text(),
            status: 400,
            detail: "why".into(),
            code: Code::Invalid,
            errors: vec![fault],
            referrers: vec![id],
        },
    );
}

#[test]
fn the_words_of_an_enumeration_are_those_served() {
    let schemas = types::schemas();
    let check = |name: &str, values: Vec<Value>| {
        assert_eq!(schemas[name]["enum"], Value::from(values), "{name}");
    };
    let states = [
        NodeState::Live,
        NodeState::Pending,
        NodeState::Rejected,
        NodeState::Disconnected,
    ];
    check("NodeState", states.map(|state| json!(state)).into());
    let outcomes = [
        Outcome::Created,
        Outcome::Updated,
        Outcome::Unchanged,
        Outcome::Deleted,
    ];
    check("Outcome", outcomes.map(|outcome| json!(outcome)).into());
    check("Kind", Kind::ALL.map(|kind| json!(kind)).into());
}
