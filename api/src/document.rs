//! Resources as people write them: JSON and YAML documents.
//!
//! A document is the proto3 JSON form of a resource with its `kind` beside its fields:
//! `{"kind": "Route", "name": "users", …}`. Reads add `meta`. Reading is strict: unknown fields,
//! keys given twice and values of the wrong shape are faults, each with the field's path. So is a
//! private key in a public field of a secret; text beside the PEM blocks there is dropped.

pub(crate) mod strict;

use fleetway_proto::v1;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, map::Entry};
use serde_path_to_error::Segment;

use crate::{
    FieldError, Id, Kind, Name, Resource,
    error::shortened,
    kind::KINDS,
    resource::{Component, Secret, redacted},
};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259: one document, or an array of them.
    Json,
    /// YAML 1.2 with the booleans `true` and `false`: any number of documents, or lists of them.
    Yaml,
}

/// A document whose shape is right. What it says is not yet validated.
#[derive(Debug, Clone)]
pub struct Document {
    /// Which resource.
    pub id: Id,
    /// The resource.
    pub message: v1::Resource,
    /// The version `meta` says it was read at: a write is to be refused if it changed since.
    pub if_version: Option<u64>,
}

/// What is known of a document from where it came, such as a REST path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// The kind it must be of; it may then leave its `kind` out.
    pub kind: Option<Kind>,
    /// The name it must have; it may then leave its `name` out.
    pub name: Option<&'a str>,
}

/// Splits a text into documents. A list at the top holds one document in each element.
///
/// # Errors
/// When the text is not well-formed, with line and column, or gives a key twice.
pub fn parse(text: &str, format: Format) -> Result<Vec<Value>, FieldError> {
    let fault = |error: String| FieldError::new("", "", error);
    let documents = match format {
        Format::Json => vec![strict::json(text).map_err(fault)?],
        Format::Yaml => strict::yaml(text).map_err(fault)?,
    };
    Ok(documents
        .into_iter()
        .flat_map(|document| match document {
            Value::Array(documents) => documents,
            document => vec![document],
        })
        .collect())
}

/// Reads a text that holds one document, as the body of a request does.
///
/// # Errors
/// When the text is not well-formed, gives a key twice, or holds none or several.
pub fn parse_one(text: &str, format: Format) -> Result<Value, FieldError> {
    let fault = |error: String| FieldError::new("", "", error);
    match format {
        Format::Json => strict::json(text).map_err(fault),
        Format::Yaml => {
            let mut documents = strict::yaml(text).map_err(fault)?;
            match (documents.pop(), documents.len()) {
                (Some(document), 0) => Ok(document),
                (None, _) => Err(fault("holds no document".to_owned())),
                (Some(_), more) => Err(fault(format!(
                    "holds {} documents where one is expected",
                    more + 1
                ))),
            }
        }
    }
}

/// Which resource a message is. What else it says is not looked at.
///
/// # Errors
/// When it has no kind or its name is none.
pub fn id_of(message: &v1::Resource) -> Result<Id, FieldError> {
    let (kind, name) = match &message.kind {
        Some(v1::resource::Kind::Secret(message)) => (Kind::Secret, &message.name),
        Some(v1::resource::Kind::Component(message)) => (Kind::Component, &message.name),
        Some(v1::resource::Kind::Policy(message)) => (Kind::Policy, &message.name),
        Some(v1::resource::Kind::Cluster(message)) => (Kind::Cluster, &message.name),
        Some(v1::resource::Kind::Endpoints(message)) => (Kind::Endpoints, &message.name),
        Some(v1::resource::Kind::Listener(message)) => (Kind::Listener, &message.name),
        Some(v1::resource::Kind::Route(message)) => (Kind::Route, &message.name),
        None => return Err(FieldError::new("", "", "a resource without a kind")),
    };
    Name::new(name)
        .map(|name| Id::new(kind, name))
        .map_err(|error| FieldError::new(kind.plural(), "name", error.to_string()))
}

/// Reads one document. `place` names it in errors while it has no usable name of its own.
///
/// # Errors
/// All faults of its shape.
pub fn read(
    document: Value,
    expected: Expected<'_>,
    place: &str,
) -> Result<Document, Vec<FieldError>> {
    let Value::Object(mut fields) = document else {
        let message = "must be an object with kind, name and the resource's fields";
        return Err(vec![FieldError::new(place, "", message)]);
    };
    let mut faults: Vec<(String, String)> = Vec::new();
    let kind = take_kind(&mut fields, expected.kind, &mut faults);
    let if_version = take_version(&mut fields).unwrap_or_else(|(field, error)| {
        faults.push((field.to_owned(), error));
        None
    });
    let name = read_name(&mut fields, expected.name).map_err(|error| {
        faults.push(("name".to_owned(), error));
    });
    let message = match kind {
        None => Err(Vec::new()),
        Some(Kind::Secret) => shape(fields).map_err(unquoted).and_then(|mut secret| {
            Secret::tidy(&mut secret)?;
            Ok(v1::resource::Kind::Secret(secret))
        }),
        Some(Kind::Component) => shape(fields).map(|mut component: v1::Component| {
            // What a read added.
            component.facts = None;
            v1::resource::Kind::Component(component)
        }),
        Some(Kind::Policy) => shape(fields).map(v1::resource::Kind::Policy),
        Some(Kind::Cluster) => shape(fields).map(v1::resource::Kind::Cluster),
        Some(Kind::Endpoints) => shape(fields).map(v1::resource::Kind::Endpoints),
        Some(Kind::Listener) => shape(fields).map(v1::resource::Kind::Listener),
        Some(Kind::Route) => shape(fields).map(v1::resource::Kind::Route),
    };
    let id = kind.zip(name.ok()).map(|(kind, name)| Id::new(kind, name));
    match (id, message) {
        (Some(id), Ok(kind)) if faults.is_empty() => Ok(Document {
            id,
            message: v1::Resource { kind: Some(kind) },
            if_version,
        }),
        (id, message) => {
            faults.extend(message.err().unwrap_or_default());
            let place = id.map_or_else(|| place.to_owned(), |id| id.to_string());
            Err(faults
                .into_iter()
                .map(|(field, message)| FieldError::new(&place, field, message))
                .collect())
        }
    }
}

/// Which resource a document stands for, whatever else is wrong with it; `None` if it does not say.
#[must_use]
pub fn id_in(document: &Value) -> Option<Id> {
    let kind = document.get("kind")?.as_str()?.parse().ok()?;
    let name = Name::new(document.get("name")?.as_str()?).ok()?;
    Some(Id::new(kind, name))
}

/// A document with what its check made of it: the resource it is.
pub type Valid<R = Resource> = (Document, R);

/// What there is where some of it is faulty.
#[derive(Debug)]
pub struct Faulty<D> {
    /// Every fault, at least one.
    pub faults: Vec<FieldError>,
    /// The documents that are valid by themselves.
    pub valid: Vec<D>,
    /// Those that are not; null for a text that cannot be split into documents.
    pub invalid: Vec<Value>,
}

/// Reads and validates every document of a text, as a file or a request body has them.
///
/// # Errors
/// All faults of all documents, and the documents without. `place` names the text.
pub fn read_all(text: &str, format: Format, place: &str) -> Result<Vec<Valid>, Faulty<Valid>> {
    read_all_as(text, format, place, Resource::read)
}

/// The same with another check of each message: [`Resource::read`] or [`Resource::check`].
///
/// # Errors
/// As [`read_all`].
pub fn read_all_as<R>(
    text: &str,
    format: Format,
    place: &str,
    check: impl Fn(v1::Resource) -> Result<R, Vec<FieldError>>,
) -> Result<Vec<Valid<R>>, Faulty<Valid<R>>> {
    let documents = parse(text, format).map_err(|mut error| {
        error.resource = place.to_owned();
        Faulty {
            faults: vec![error],
            valid: Vec::new(),
            invalid: vec![Value::Null],
        }
    })?;
    let mut valid = Vec::with_capacity(documents.len());
    let mut invalid = Vec::new();
    let mut faults = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let place = format!("{place}, document {}", index + 1);
        let both = read(document.clone(), Expected::default(), &place).and_then(|document| {
            check(document.message.clone()).map(|checked| (document, checked))
        });
        match both {
            Ok(both) => valid.push(both),
            Err(found) => {
                faults.extend(found);
                invalid.push(document);
            }
        }
    }
    if faults.is_empty() {
        Ok(valid)
    } else {
        Err(Faulty {
            faults,
            valid,
            invalid,
        })
    }
}

/// The document of a resource: `kind`, its fields, and `meta` if given. A secret is written without
/// its private parts, a component without its bytes.
#[must_use]
pub fn write(message: &v1::Resource, meta: Option<&v1::Meta>) -> Value {
    match &message.kind {
        Some(v1::resource::Kind::Secret(secret)) => {
            let shown = v1::resource::Kind::Secret(redacted(secret));
            write_whole(&v1::Resource { kind: Some(shown) }, meta)
        }
        Some(v1::resource::Kind::Component(component)) => {
            let shown = v1::resource::Kind::Component(Component::without_bytes(component));
            write_whole(&v1::Resource { kind: Some(shown) }, meta)
        }
        _ => write_whole(message, meta),
    }
}

/// The same with the private parts of a secret and the bytes of a component: for sending it to the server, and for nothing that
/// is shown.
#[must_use]
pub fn write_whole(message: &v1::Resource, meta: Option<&v1::Meta>) -> Value {
    let (kind, body) = match &message.kind {
        Some(v1::resource::Kind::Secret(message)) => (Kind::Secret, to_value(message)),
        Some(v1::resource::Kind::Component(message)) => (Kind::Component, to_value(message)),
        Some(v1::resource::Kind::Policy(message)) => (Kind::Policy, to_value(message)),
        Some(v1::resource::Kind::Cluster(message)) => (Kind::Cluster, to_value(message)),
        Some(v1::resource::Kind::Endpoints(message)) => (Kind::Endpoints, to_value(message)),
        Some(v1::resource::Kind::Listener(message)) => (Kind::Listener, to_value(message)),
        Some(v1::resource::Kind::Route(message)) => (Kind::Route, to_value(message)),
        None => return Value::Null,
    };
    let mut document = Map::new();
    document.insert("kind".into(), kind.as_str().into());
    if let Value::Object(fields) = body {
        document.extend(fields);
    }
    if let Some(meta) = meta {
        document.insert("meta".into(), to_value(meta));
    }
    Value::Object(document)
}

/// Writes documents as text: one JSON document or array, or a stream of YAML documents.
#[must_use]
pub fn to_text(documents: &[Value], format: Format) -> String {
    match (format, documents) {
        (Format::Json, [one]) => format!("{one:#}\n"),
        (Format::Json, many) => format!("{:#}\n", Value::from(many)),
        (Format::Yaml, many) => {
            let texts: Vec<String> = many.iter().map(strict::to_yaml).collect();
            texts.join("---\n")
        }
    }
}

/// A message always has a JSON form: the one exception, a negative duration, is no valid value.
fn to_value(message: &impl serde::Serialize) -> Value {
    serde_json::to_value(message).unwrap_or(Value::Null)
}

/// Takes the kind out. One that is written otherwise is a fault, and read all the same.
fn take_kind(
    fields: &mut Map<String, Value>,
    expected: Option<Kind>,
    faults: &mut Vec<(String, String)>,
) -> Option<Kind> {
    let mut fault = |message: String| faults.push(("kind".to_owned(), message));
    let text = match fields.shift_remove("kind") {
        None if expected.is_some() => return expected,
        None => {
            fault(format!("is missing: write {KINDS}"));
            return None;
        }
        Some(Value::String(text)) => text,
        Some(_) => {
            fault("must be a string".to_owned());
            return expected;
        }
    };
    let Ok(kind) = text.parse::<Kind>() else {
        fault(format!("\"{}\" is not {KINDS}", shortened(&text)));
        return expected;
    };
    if kind.as_str() != text {
        fault(format!("is written {kind}, not \"{text}\""));
    }
    if let Some(expected) = expected.filter(|expected| *expected != kind) {
        fault(format!("is {kind} but the path says {expected}"));
        // Which of the two the fields are of cannot be told.
        return None;
    }
    Some(kind)
}

/// Reads the name and leaves it in its place; one that is known from elsewhere is put there.
fn read_name(fields: &mut Map<String, Value>, expected: Option<&str>) -> Result<Name, String> {
    let name = match (fields.get("name"), expected) {
        (None, Some(name)) => {
            fields.insert("name".into(), name.into());
            name.to_owned()
        }
        (None, None) => return Err("is missing: every resource needs a name".into()),
        (Some(Value::String(given)), Some(name)) if given != name => {
            return Err(format!("is \"{given}\" but the path says \"{name}\""));
        }
        (Some(Value::String(given)), _) => given.clone(),
        (Some(_), _) => {
            // Said once is enough.
            fields.shift_remove("name");
            return Err("must be a string".into());
        }
    };
    Name::new(&name).map_err(|error| error.to_string())
}

/// Takes `meta` out. Only its `version` has a meaning on a write; the rest is what a read added.
fn take_version(fields: &mut Map<String, Value>) -> Result<Option<u64>, (&'static str, String)> {
    let Some(meta) = fields.shift_remove("meta") else {
        return Ok(None);
    };
    let meta: v1::Meta =
        serde_json::from_value(meta).map_err(|error| ("meta", plain(&error.to_string())))?;
    if meta.version.is_empty() {
        return Ok(None);
    }
    meta.version.parse().map(Some).map_err(|_| {
        (
            "meta.version",
            format!("\"{}\" is not a version: a decimal number", meta.version),
        )
    })
}

/// The most faults of shape reported for one document.
const MAX_FAULTS: usize = 20;

/// Makes a message of the fields. On a fault, cuts the faulty place out and goes on, so that all
/// faults are found.
fn shape<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, Vec<(String, String)>> {
    let mut document = Value::Object(fields);
    let mut faults: Vec<(String, String)> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&document) {
            Ok(message) if faults.is_empty() => return Ok(message),
            Ok(_) => return Err(faults),
            Err(error) => error,
        };
        let path: Vec<Segment> = error.path().iter().cloned().collect();
        faults.push(explain(&path, &error.into_inner().to_string()));
        if faults.len() == MAX_FAULTS || !cut(&mut document, &path) {
            return Err(faults);
        }
    }
}

/// Makes a value of a document's part.
///
/// # Errors
/// The first fault of its shape: the field's path and the reason.
pub(crate) fn read_strictly<T: DeserializeOwned>(value: &Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path: Vec<Segment> = error.path().iter().cloned().collect();
        explain(&path, &error.into_inner().to_string())
    })
}

fn print_path(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&shortened(key));
            }
            Segment::Unknown => {}
        }
    }
    text
}

/// Cuts the place out of the document; of a list, the whole list, so that the places of its other
/// elements stay right. False when there is nothing to cut.
fn cut(document: &mut Value, path: &[Segment]) -> bool {
    let end = path
        .iter()
        .position(|segment| !matches!(segment, Segment::Map { .. }));
    let keys = path.get(..end.unwrap_or(path.len())).unwrap_or_default();
    let Some((last, parents)) = keys.split_last() else {
        return false;
    };
    let mut at = document;
    for segment in parents {
        let (Segment::Map { key }, Value::Object(fields)) = (segment, at) else {
            return false;
        };
        let Some(next) = fields.get_mut(key) else {
            return false;
        };
        at = next;
    }
    match (last, at) {
        (Segment::Map { key }, Value::Object(fields)) => match fields.entry(key.clone()) {
            Entry::Occupied(place) => {
                place.shift_remove();
                true
            }
            Entry::Vacant(_) => false,
        },
        _ => false,
    }
}

/// The parser's message in the words of a document, with the field's path: no backquotes, no
/// position in a text that nobody sees.
fn explain(path: &[Segment], message: &str) -> (String, String) {
    let mut field = print_path(path);
    // A key given twice was refused before this: what meets here are two fields of a choice.
    let twice = message
        .strip_prefix("duplicate field `")
        .and_then(|rest| rest.split_once('`'));
    let Some((name, _)) = twice else {
        return (field, plain(message));
    };
    if !field.is_empty() {
        field.push('.');
    }
    field.push_str(name);
    let message = "is set beside another of which only one can be: take one of them out";
    (field, message.to_owned())
}

/// The parser's words, where they speak of Rust and not of documents, in other words.
fn plain(message: &str) -> String {
    if message.contains("untagged enum") || message.starts_with("invalid digit") {
        return "must be a whole number in the range of its field".to_owned();
    }
    if let Some((given, values)) = bad_choice(message) {
        return format!("{given} is not {values}");
    }
    if let Some((said, known)) = message.rsplit_once(", expected ")
        && said.starts_with("unknown field ")
    {
        let name = said.trim_start_matches("unknown field ").trim_matches('`');
        let name = shortened(name);
        return format!("unknown field \"{name}\", expected {}", listed(known));
    }
    let message = message.replace('`', "\"");
    match message.split_once(", expected struct ") {
        Some((given, _)) => format!("{given}, expected an object"),
        None => message
            .replace(", expected a sequence", ", expected a list")
            .replace("invalid type: sequence,", "invalid type: list,")
            .replace("invalid type: map,", "invalid type: object,"),
    }
}

/// What the parser says of a value that is none of a list, taken apart: the value, and those that it
/// can have. It says so in one way of a name it does not know, in another of what is no name.
fn bad_choice(message: &str) -> Option<(String, String)> {
    let unknown = message
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.split_once(", expected "));
    let (given, names) = match unknown {
        Some((name, names)) => (name.replace('`', "\""), names.replace('`', "\"")),
        None => {
            let (said, names) = message.split_once(", expected expected one of: ")?;
            let (_, given) = said.split_once(": ")?;
            let given = match given {
                "sequence" => "a list",
                "map" => "an object",
                "unit value" => "null",
                given => given.split('`').nth(1).unwrap_or(given),
            };
            (given.to_owned(), names.to_owned())
        }
    };
    // The name of a field that is left out stands for no choice.
    let names = names.split('"').skip(1).step_by(2);
    let names: Vec<&str> = names
        .filter(|name| !name.ends_with("_UNSPECIFIED"))
        .collect();
    let values = match names.as_slice() {
        [] => return None,
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    };
    Some((given, values))
}

/// The faults of a secret without the texts they are about, which may be private.
fn unquoted(faults: Vec<(String, String)>) -> Vec<(String, String)> {
    let about = |message: String| match message.split_once("string \"") {
        Some((before, rest)) => {
            let after = rest.rsplit_once('"').map_or("", |(_, after)| after);
            format!("{before}string{after}")
        }
        None => message,
    };
    let faults = faults.into_iter();
    faults
        .map(|(field, message)| (field, about(message)))
        .collect()
}

/// The fields of the parser's list as they are written here: it knows some in two spellings.
fn listed(known: &str) -> String {
    let names: Vec<String> = known
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| !name.contains(|c: char| c.is_ascii_uppercase()))
        .map(|name| format!("\"{name}\""))
        .collect();
    match names.as_slice() {
        [] => known.replace('`', "\""),
        [one] => one.clone(),
        [one, two] => format!("{one} or {two}"),
        many => format!("one of {}", many.join(", ")),
    }
}

#[cfg(test)]
mod tests;
