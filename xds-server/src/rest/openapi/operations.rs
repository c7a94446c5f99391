//! What each endpoint takes and answers.

use fleetway_api::{
    Kind,
    rest::{AUTHOR, Code, IDEMPOTENCY_KEY, MERGE_PATCH_JSON, PROBLEM_JSON, YAML},
};
use serde_json::{Map, Value, json};

use super::{
    super::{
        Operation,
        components::WASM,
        failure::describe as describe_code,
        input::{MAX_AUTHOR, MAX_KEY, MAX_MESSAGE},
        list::{DEFAULT_PAGE, MAX_PAGE},
    },
    schema,
    types::code_name,
};

/// The description of one endpoint.
pub(super) fn describe(operation: Operation) -> Value {
    match operation {
        Operation::List(kind) => Description::new("list", Some(kind), "List them, by name")
            .parameters(paging())
            .parameters([
                query("label", "Which labels they must have, all of it: `env=prod`, `team!=x`, `key`, `!key`, separated by commas. A resource without the label counts as different.", json!({"type": "string"})),
                query("fleet", "Only what a proxy of this fleet gets.", json!({"type": "string"})),
            ])
            .answer("200", "A page.", &format!("{kind}Page"))
            .build(),
        Operation::Create(kind) => Description::new("create", Some(kind), "Create one")
            .parameters(write_parameters())
            .body(document_types(), schema(kind.as_str()))
            .written("201", kind)
            .errors(&WRITE)
            .errors(&[Code::AlreadyExists])
            .build(),
        Operation::Get(kind) => Description::new("get", Some(kind), "Read one")
            .parameters([
                path("name", "The resource's name."),
                header("if-none-match", "Answer 304 if the resource is at one of these versions, entity tags such as `\"42\"`."),
            ])
            .answer("200", "The document.", kind.as_str())
            .bare("304", "The client has this version.")
            .header("200", etag())
            .header("304", etag())
            .errors(&[Code::NotFound])
            .build(),
        Operation::Put(kind) => Description::new("put", Some(kind), "Create one, or put it in place of what is there")
            .parameters([path("name", "The resource's name."), if_match(), if_none_match()])
            .parameters(write_parameters())
            .body(document_types(), schema(kind.as_str()))
            .written("200", kind)
            .written("201", kind)
            .errors(&WRITE)
            .build(),
        Operation::Patch(kind) => Description::new("patch", Some(kind), "Change parts of one")
            .parameters([path("name", "The resource's name."), if_match()])
            .parameters(write_parameters())
            .body(
                vec![MERGE_PATCH_JSON, "application/json", YAML],
                json!({"type": "object", "description": "A merge patch, RFC 7396: fields put in place, `null` takes one out."}),
            )
            .written("200", kind)
            .errors(&WRITE)
            .errors(&[Code::NotFound])
            .build(),
        Operation::Delete(kind) => Description::new("delete", Some(kind), "Delete one")
            .parameters([path("name", "The resource's name."), if_match()])
            .parameters(write_parameters())
            .answer("200", "What was done.", "TransactionResponse")
            .header("200", revision_header())
            .errors(&[Code::NotFound, Code::StillReferenced, Code::StaleVersion, Code::StoreUnavailable])
            .build(),
        Operation::Upload => upload(),
        Operation::Wasm => wasm(),
        Operation::Transact => transact(),
        Operation::Revisions => Description::new("listRevisions", None, "List the revisions, newest first")
            .parameters(paging())
            .answer("200", "A page.", "RevisionSummaryPage")
            .errors(&[Code::NotFound, Code::StoreUnavailable])
            .build(),
        Operation::Revision => Description::new("getRevision", None, "What a revision changed, before and after")
            .parameters([path("n", "The revision's number; the log keeps the newest ones only.")])
            .answer("200", "The revision.", "RevisionDetail")
            .errors(&[Code::NotFound, Code::StoreUnavailable])
            .build(),
        Operation::Status => status(),
        Operation::Nodes => Description::new("listNodes", None, "List the nodes, by id")
            .parameters(paging())
            .answer("200", "A page.", "NodePage")
            .build(),
        Operation::Node => Description::new("getNode", None, "What a node has")
            .parameters([path("id", "The node's id.")])
            .answer("200", "The node.", "Node")
            .errors(&[Code::NotFound])
            .build(),
        Operation::Version => Description::new("version", None, "Which version the server is")
            .answer("200", "Its version.", "ServerVersion")
            .build(),
        Operation::Healthz => Description::new("healthz", None, "Whether the server lives")
            .text("200", "It does.", "text/plain")
            .build(),
        Operation::Readyz => Description::new("readyz", None, "Whether the server takes requests")
            .text("200", "It does.", "text/plain")
            .text("503", "It starts or stops.", "text/plain")
            .build(),
        Operation::Metrics => Description::new("metrics", None, "What the server counts, as Prometheus reads it")
            .text("200", "The text exposition format.", "text/plain")
            .build(),
        Operation::OpenApi => Description::new("openapi", None, "This document")
            .text("200", "OpenAPI 3.1.", "application/json")
            .build(),
    }
}

fn status() -> Value {
    Description::new("getRevisionStatus", None, "Wait until a revision is live")
            .parameters([
                path("n", "The revision's number; it must be committed."),
                query("wait", "How long to wait for it: up to `5m`. Absent: answer at once.", json!({"type": "string", "examples": ["30s"]})),
                query("nodes", "Which share of the connected nodes must have it live: `all` or a percentage, rounded up.", json!({"type": "string", "pattern": "^(all|[0-9]+%)$", "default": "all"})),
            ])
            .answer("200", "Where it stands: once that share has it live, once all that do not have it refused it (`refused: true`), or at the time-out. `live` says whether the share is met.", "RevisionStatus")
            .errors(&[Code::NotFound, Code::ShuttingDown])
            .build()
}

fn upload() -> Value {
    Description::new(
        "upload",
        Some(Kind::Component),
        "Upload one, named by its bytes",
    )
    .parameters(write_parameters())
    .body(vec![WASM], binary())
    .written("200", Kind::Component)
    .written("201", Kind::Component)
    .errors(&[
        Code::Invalid,
        Code::TooLarge,
        Code::UnsupportedMediaType,
        Code::StoreUnavailable,
    ])
    .build()
}

fn wasm() -> Value {
    Description::new("bytesOf", Some(Kind::Component), "Read the bytes of one")
            .parameters([
                path("name", "The component's digest."),
                header("if-none-match", "Answer 304 if the resource is at one of these versions, entity tags such as `\"42\"`."),
            ])
            .content("200", "The bytes.", WASM, binary())
            .bare("304", "The client has this version.")
            .header("200", etag())
            .header("304", etag())
            .errors(&[Code::NotFound])
            .build()
}

fn transact() -> Value {
    Description::new("transact", None, "Make many changes together, or none of them")
        .parameters([
            dry_run(),
            author(),
            header(
                IDEMPOTENCY_KEY,
                &format!("Makes it safe to send again: 1 to {MAX_KEY} printable characters. For at least a day the same key with the same body gets the same answer, and nothing is done twice."),
            ),
        ])
        .body(document_types(), schema("TransactionRequest"))
        .answer("200", "What was done, in one revision.", "TransactionResponse")
        .header("200", revision_header())
        .errors(&WRITE)
        .errors(&[Code::AlreadyExists, Code::NotFound, Code::StillReferenced, Code::IdempotencyKeyReused])
        .build()
}

/// What any write of a document can meet.
const WRITE: [Code; 5] = [
    Code::Invalid,
    Code::StaleVersion,
    Code::TooLarge,
    Code::UnsupportedMediaType,
    Code::StoreUnavailable,
];

struct Description {
    id: String,
    tag: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
    codes: Vec<Code>,
}

impl Description {
    fn new(verb: &str, kind: Option<Kind>, summary: &'static str) -> Self {
        Self {
            id: match kind {
                None => verb.to_owned(),
                Some(kind) if verb == "list" => {
                    let plural = kind.plural();
                    let (first, rest) = plural.split_at(1);
                    format!("{verb}{}{rest}", first.to_ascii_uppercase())
                }
                Some(kind) => format!("{verb}{kind}"),
            },
            tag: kind.map_or("server", Kind::plural),
            summary,
            parameters: Vec::new(),
            body: None,
            responses: Map::new(),
            // Any endpoint refuses parameters it does not know, and any can have a fault.
            codes: vec![Code::BadRequest, Code::Internal],
        }
    }

    fn parameters(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    fn body(mut self, types: Vec<&str>, schema: Value) -> Self {
        self.body = Some(json!({"required": true, "content": content(&types, &schema)}));
        self
    }

    fn answer(mut self, status: &str, description: &str, name: &str) -> Self {
        self.responses.insert(
            status.to_owned(),
            json!({"description": description, "content": content(&document_types(), &schema(name))}),
        );
        self
    }

    /// The answer to a write of one document.
    fn written(mut self, status: &str, kind: Kind) -> Self {
        let description = match status {
            "201" => "Created: the document, with `meta.revision` the revision that holds it.",
            _ => {
                "Changed, or already so: the document, with `meta.revision` the revision that holds it."
            }
        };
        self.responses.insert(
            status.to_owned(),
            json!({
                "description": description,
                "content": content(&document_types(), &schema(kind.as_str())),
            }),
        );
        let written = self
            .header(status, etag())
            .header(status, revision_header());
        if status == "201" {
            written.header(status, ("location", "Where the resource is."))
        } else {
            written
        }
    }

    /// A header of an answer there is.
    fn header(mut self, status: &str, (name, description): (&str, &str)) -> Self {
        let Some(Value::Object(answer)) = self.responses.get_mut(status) else {
            return self;
        };
        let headers = answer.entry("headers").or_insert_with(|| json!({}));
        if let Value::Object(headers) = headers {
            let header = json!({"description": description, "schema": {"type": "string"}});
            headers.insert(name.to_owned(), header);
        }
        self
    }

    fn bare(mut self, status: &str, description: &str) -> Self {
        self.responses
            .insert(status.to_owned(), json!({"description": description}));
        self
    }

    fn text(self, status: &str, description: &str, media_type: &str) -> Self {
        let of = if media_type == "application/json" {
            json!({"type": "object"})
        } else {
            json!({"type": "string"})
        };
        self.content(status, description, media_type, of)
    }

    /// An answer of one type.
    fn content(mut self, status: &str, description: &str, media_type: &str, of: Value) -> Self {
        self.responses.insert(
            status.to_owned(),
            json!({"description": description, "content": content(&[media_type], &of)}),
        );
        self
    }

    fn errors(mut self, codes: &[Code]) -> Self {
        self.codes.extend(codes);
        self
    }

    fn build(mut self) -> Value {
        self.codes
            .sort_by_key(|&code| describe_code(code).0.as_u16());
        for codes in self
            .codes
            .chunk_by(|&one, &two| describe_code(one).0 == describe_code(two).0)
        {
            let Some(&first) = codes.first() else {
                continue;
            };
            let status = describe_code(first).0.as_str().to_owned();
            let meanings: Vec<String> = codes
                .iter()
                .map(|&code| format!("`{}`: {}.", code_name(code), describe_code(code).1))
                .collect();
            let names: Vec<String> = codes.iter().copied().map(code_name).collect();
            let problem = json!({"allOf": [
                schema("Problem"),
                {"properties": {"code": {"enum": names}}},
            ]});
            // `/readyz` answers 503 in its own words.
            self.responses.entry(status).or_insert_with(|| {
                json!({
                    "description": meanings.join(" "),
                    "content": content(&[PROBLEM_JSON], &problem),
                })
            });
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": self.responses,
        });
        if let (Value::Object(operation), Some(body)) = (&mut operation, self.body) {
            operation.insert("requestBody".to_owned(), body);
        }
        operation
    }
}

const fn etag() -> (&'static str, &'static str) {
    ("etag", "The version of the resource, as an entity tag.")
}

const fn revision_header() -> (&'static str, &'static str) {
    (
        "x-fleetway-revision",
        "The revision that holds the write. Absent on a dry run.",
    )
}

fn content(types: &[&str], schema: &Value) -> Value {
    types
        .iter()
        .map(|&media_type| (media_type.to_owned(), json!({"schema": schema})))
        .collect::<Map<_, _>>()
        .into()
}

fn document_types() -> Vec<&'static str> {
    vec!["application/json", YAML]
}

fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    json!({
        "in": place,
        "name": name,
        "required": place == "path",
        "description": description,
        "schema": schema,
    })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    parameter("query", name, description, schema)
}

fn header(name: &str, description: &str) -> Value {
    parameter("header", name, description, json!({"type": "string"}))
}

fn path(name: &str, description: &str) -> Value {
    parameter("path", name, description, json!({"type": "string"}))
}

fn paging() -> [Value; 2] {
    [
        query(
            "page_size",
            "How many entries a page has at most.",
            json!({"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}),
        ),
        query(
            "page_token",
            "The `next_page_token` of the page before.",
            json!({"type": "string"}),
        ),
    ]
}

fn write_parameters() -> [Value; 3] {
    let message = query(
        "message",
        "Why, for the revision log.",
        json!({"type": "string", "maxLength": MAX_MESSAGE}),
    );
    [dry_run(), message, author()]
}

fn dry_run() -> Value {
    query(
        "dry_run",
        "Check all of it, answer as if it was made, and store nothing.",
        json!({"type": "boolean", "default": false}),
    )
}

fn author() -> Value {
    header(
        AUTHOR,
        &format!(
            "Who makes the change: 1 to {MAX_AUTHOR} printable characters. Absent: `anonymous`."
        ),
    )
}

/// Bytes as they are.
fn binary() -> Value {
    json!({"type": "string", "format": "binary"})
}

fn if_match() -> Value {
    header(
        "if-match",
        "Make the change only if the resource is at one of these versions, entity tags such as `\"42\"`; `*`: if it exists.",
    )
}

fn if_none_match() -> Value {
    header(
        "if-none-match",
        "`*`: make the change only if the resource does not exist.",
    )
}
