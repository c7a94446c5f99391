//! The schemas of the bodies that are not resources: the types of `fleetway_api::rest`.

use fleetway_api::{Kind, rest::Code};
use serde_json::{Map, Value, json};

use super::{
    super::failure::{CODES, describe},
    schema,
};

/// Every schema, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| {
        schemas.insert(name.to_owned(), schema);
    };
    let kinds = Kind::ALL.map(Kind::as_str);
    add("Kind", json!({"type": "string", "enum": kinds}));
    add("Id", object("Which resource.", &["kind", "name"], id()));
    for item in kinds.into_iter().chain(["RevisionSummary", "Node"]) {
        add(&format!("{item}Page"), page(item));
    }
    writes(&mut add);
    problems(&mut add);
    revisions(&mut add);
    nodes(&mut add);
    let version = json!({"version": text("Its version.")});
    add(
        "ServerVersion",
        object("Which version the server is.", &["version"], version),
    );
    schemas
}

fn writes(add: &mut impl FnMut(&str, Value)) {
    let documents: Vec<Value> = Kind::ALL
        .map(|kind| json!({"allOf": [schema(kind.as_str()), {"required": ["kind", "name"]}]}))
        .into();
    add(
        "TransactionRequest",
        object(
            "Changes that are made together, or not at all.",
            &["operations"],
            json!({
                "message": text("Why, for the revision log: up to 4096 characters."),
                "operations": list("The changes, in any order; at most one for each resource.", schema("Operation")),
            }),
        ),
    );
    let mut operation = object(
        "One change: exactly one of `put` and `delete`.",
        &[],
        json!({
            "put": {"description": "The document to create or put in place of what is there.", "oneOf": documents},
            "delete": {"description": "The resource to delete; it must exist.", "$ref": "#/components/schemas/Id"},
            "if_version": {
                "type": "string",
                "pattern": "^[0-9]+$",
                "description": "The version the resource must have; \"0\": it must not exist.",
            },
        }),
    );
    if let Value::Object(operation) = &mut operation {
        let ways = json!([{"required": ["put"]}, {"required": ["delete"]}]);
        operation.insert("oneOf".to_owned(), ways);
    }
    add("Operation", operation);
    add(
        "TransactionResponse",
        object(
            "What a write did.",
            &["revision", "dry_run", "results"],
            json!({
                "revision": number("The revision that holds the change: a new one, or the current one if nothing changed."),
                "dry_run": flag("Whether this was only tried: nothing was stored."),
                "results": list("What became of each resource, in the order of the operations.", schema("OperationResult")),
            }),
        ),
    );
    let mut result = id();
    set(&mut result, "outcome", schema("Outcome"));
    add(
        "OperationResult",
        object(
            "What became of one resource.",
            &["kind", "name", "outcome"],
            result,
        ),
    );
    add(
        "Outcome",
        json!({
            "type": "string",
            "enum": ["created", "updated", "unchanged", "deleted"],
            "description": "What a write did to a resource.",
        }),
    );
}

fn problems(add: &mut impl FnMut(&str, Value)) {
    add(
        "Problem",
        object(
            "An error, as RFC 9457 has it, with a stable `code`.",
            &["type", "title", "status", "code"],
            json!({
                "type": text("A URI for the kind of problem: `about:blank`."),
                "title": text("The kind of problem in words, the same each time."),
                "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
                "detail": text("What went wrong this time, and what to do."),
                "code": schema("Code"),
                "errors": list("Every fault found.", schema("FieldError")),
                "referrers": list("The resources that still refer to one that was to be deleted.", schema("Id")),
            }),
        ),
    );
    let meanings: Vec<String> = CODES
        .iter()
        .map(|&code| {
            let (status, title) = describe(code);
            format!("- `{}` ({}): {title}", code_name(code), status.as_u16())
        })
        .collect();
    add(
        "Code",
        json!({
            "type": "string",
            "enum": CODES.map(code_name),
            "description": format!("The kind of problem for programs; never changes its meaning.\n\n{}", meanings.join("\n")),
        }),
    );
    add(
        "FieldError",
        object(
            "One fault: which resource, which field, what is wrong and how to mend it.",
            &["message"],
            json!({
                "resource": text("The resource as `routes/users`, or where it stands (`operations[3].put`) when it has no usable name; absent where the request as a whole is meant."),
                "field": text("The field's path, `match.path.prefix` or `endpoints[2].address`, or the query parameter or header; absent for the whole."),
                "message": text("What is wrong, and the remedy."),
            }),
        ),
    );
}

/// A code as it is written.
pub(super) fn code_name(code: Code) -> String {
    match serde_json::to_value(code) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn revisions(add: &mut impl FnMut(&str, Value)) {
    let summary = json!({
        "revision": number("Its number."),
        "time": timestamp("When it was committed."),
        "author": text("Who committed it."),
        "message": text("Why."),
        "changed": number("How many resources it changed."),
    });
    let required = ["revision", "time", "author", "message", "changed"];
    add(
        "RevisionSummary",
        object(
            "An entry of the revision log, without what it changed.",
            &required,
            summary.clone(),
        ),
    );
    let mut detail = summary;
    set(
        &mut detail,
        "changes",
        list("Every change.", schema("RevisionChange")),
    );
    add(
        "RevisionDetail",
        object(
            "A revision with what it changed.",
            &[&required[..], &["changes"]].concat(),
            detail,
        ),
    );
    let document = |description: &str| json!({"description": description, "oneOf": Kind::ALL.map(|kind| schema(kind.as_str()))});
    let mut change = id();
    set(&mut change, "outcome", schema("Outcome"));
    set(
        &mut change,
        "before",
        document("The document before; absent if it was created."),
    );
    set(
        &mut change,
        "after",
        document("The document after; absent if it was deleted."),
    );
    add(
        "RevisionChange",
        object(
            "What a revision did to one resource.",
            &["kind", "name", "outcome"],
            change,
        ),
    );
    add(
        "RevisionStatus",
        object(
            "How far a revision has come.",
            &[
                "revision",
                "live",
                "nodes",
                "nodes_live",
                "waiting",
                "refused",
            ],
            json!({
                "revision": number("The revision asked for."),
                "live": flag("Whether the wanted share of the connected nodes has it, or a later one, live. Of no connected nodes any share has it."),
                "nodes": number("How many nodes are connected."),
                "nodes_live": number("How many of them have it live."),
                "waiting": list("Who has not, and why.", schema("WaitingNode")),
                "refused": flag("Whether all of those refused it, or a later one: only a new revision mends that."),
            }),
        ),
    );
}

fn nodes(add: &mut impl FnMut(&str, Value)) {
    let states = json!({
        "type": "string",
        "enum": ["LIVE", "PENDING", "REJECTED", "DISCONNECTED"],
        "description": "LIVE: it has the newest revision that concerns it live. PENDING: a revision is on its way to it. REJECTED: it refused a revision and serves an older one. DISCONNECTED: its stream is closed.",
    });
    add("NodeState", states);
    add(
        "Node",
        object(
            "A connected proxy, or one that was connected not long ago.",
            &[
                "id",
                "fleet",
                "address",
                "build",
                "connected",
                "since",
                "state",
                "types",
                "protocol_errors",
            ],
            json!({
                "id": text("Its `--node-id`."),
                "fleet": text("Its `--fleet`."),
                "address": text("Where its stream comes from."),
                "build": text("Its program and version."),
                "connected": flag("Whether its stream is open."),
                "since": timestamp("Since when it is, or how long it has been gone."),
                "state": schema("NodeState"),
                "live_revision": number("The revision it has live: what it acknowledged last. Absent while unknown."),
                "lag": number("How many revisions it is behind the server."),
                "pending": schema("Pending"),
                "last_error": schema("NodeError"),
                "failing_policies": list("Its policies that keep failing; absent where none does.", schema("FailingPolicy")),
                "types": list("What it subscribes to, by type.", schema("NodeType")),
                "protocol_errors": number("Protocol faults of its stream so far: stale nonces, unknown types and the like."),
            }),
        ),
    );
    add(
        "Pending",
        object(
            "A push without an answer.",
            &["revision", "since"],
            json!({"revision": number("The revision."), "since": timestamp("When it was sent.")}),
        ),
    );
    add(
        "NodeError",
        object(
            "A refusal.",
            &["revision", "time", "message"],
            json!({
                "revision": number("The revision refused."),
                "time": timestamp("When."),
                "message": text("The node's words."),
            }),
        ),
    );
    add(
        "FailingPolicy",
        object(
            "A policy that keeps failing on a node: 5 times or more since it last succeeded.",
            &["policy", "since", "cause", "message"],
            json!({
                "policy": text("Its name."),
                "since": timestamp("When the first of these failures was."),
                "cause": text("Why, in a word: `timeout`, `fuel`, `memory`, `misuse`, `trap`, `busy`, `answer` or `body`."),
                "message": text("Why."),
            }),
        ),
    );
    add(
        "NodeType",
        object(
            "A subscription of a node.",
            &["type_url", "acknowledged"],
            json!({
                "type_url": text("The type URL."),
                "acknowledged": {"type": ["integer", "null"], "minimum": 0, "description": "The revision up to which the node acknowledged this type."},
                "names": number("How many names it subscribes to; absent for all of them."),
            }),
        ),
    );
    add(
        "WaitingNode",
        object(
            "A node that does not have a revision live.",
            &["id", "fleet", "state", "reason"],
            json!({
                "id": text("Its id."),
                "fleet": text("Its fleet."),
                "state": schema("NodeState"),
                "live_revision": number("The revision it has live."),
                "reason": text("Why, in words."),
            }),
        ),
    );
}

fn page(item: &str) -> Value {
    object(
        "A page of a list.",
        &["items", "revision"],
        json!({
            "items": list("The entries of this page.", schema(item)),
            "next_page_token": text("What to give as `page_token` for the next page. Absent on the last one."),
            "revision": number("The revision the page was read at."),
        }),
    )
}

fn id() -> Value {
    json!({"kind": schema("Kind"), "name": text("Its name, unique within the kind.")})
}

fn set(properties: &mut Value, name: &str, schema: Value) {
    if let Value::Object(properties) = properties {
        properties.insert(name.to_owned(), schema);
    }
}

fn object(description: &str, required: &[&str], properties: Value) -> Value {
    let mut schema = json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        set(&mut schema, "required", json!(required));
    }
    schema
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn timestamp(description: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": format!("{description} RFC 3339 in UTC.")})
}

fn number(description: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": description})
}

fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

fn list(description: &str, items: Value) -> Value {
    json!({"type": "array", "items": items, "description": description})
}
