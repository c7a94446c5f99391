//! The schemas of the resources, from the descriptors of their messages: comments become
//! descriptions, and what the JSON reader refuses the schema refuses too.

use std::collections::HashMap;

use fleetway_api::Kind;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use serde_json::{Map, Value, json};

use super::schema;

const PACKAGE: &str = "fleetway.v1";
/// Messages of the wire and the store that no document holds.
const INTERNAL: [&str; 3] = ["Revision", "Change", "Resource"];
/// Field numbers of `google/protobuf/descriptor.proto`, of which a comment's path is made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_ENUM: i32 = 4;
const MESSAGE_ONEOF: i32 = 8;
const ENUM_VALUE: i32 = 2;

/// Every schema, by name.
pub(super) fn schemas() -> Result<Map<String, Value>, prost::DecodeError> {
    let set = FileDescriptorSet::decode(fleetway_api::proto::DESCRIPTORS)?;
    let mut schemas = Map::new();
    for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
        let comments = Comments::of(file);
        for (index, of) in (0..).zip(&file.enum_type) {
            let schema = choice(of, &comments, &[FILE_ENUM, index]);
            schemas.insert(of.name().to_owned(), schema);
        }
        for (index, message) in (0..).zip(&file.message_type) {
            for (inner, of) in (0..).zip(&message.enum_type) {
                let path = [FILE_MESSAGE, index, MESSAGE_ENUM, inner];
                let name = format!("{}.{}", message.name(), of.name());
                schemas.insert(name, choice(of, &comments, &path));
            }
            if INTERNAL.contains(&message.name()) {
                continue;
            }
            let mut schema = object(message, &comments, &[FILE_MESSAGE, index]);
            if let Some(kind) = Kind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == message.name())
            {
                make_document(&mut schema, kind);
            }
            schemas.insert(message.name().to_owned(), schema);
        }
    }
    Ok(schemas)
}

/// Adds what a document has beside the message's fields.
fn make_document(schema: &mut Value, kind: Kind) {
    let Some(Value::Object(fields)) = schema.get_mut("properties") else {
        return;
    };
    let mut properties = Map::new();
    properties.insert(
        "kind".to_owned(),
        json!({
            "const": kind.as_str(),
            "description": "The kind of resource. May be left out where the path says it.",
        }),
    );
    properties.append(fields);
    properties.insert("meta".to_owned(), super::schema("Meta"));
    *fields = properties;
}

/// The comments of a file, by the path of what they stand before.
struct Comments<'a>(HashMap<&'a [i32], &'a str>);

impl<'a> Comments<'a> {
    fn of(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        Self(
            locations
                .map(|location| (location.path.as_slice(), location.leading_comments()))
                .collect(),
        )
    }

    /// The comment as running text: lines joined, paragraphs kept.
    fn at(&self, path: &[i32]) -> String {
        let text = self.0.get(path).copied().unwrap_or_default();
        let paragraphs: Vec<String> = text
            .split("\n\n")
            .flat_map(|part| part.split("\n \n"))
            .map(|paragraph| {
                let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
                lines.join(" ").trim().to_owned()
            })
            .filter(|paragraph| !paragraph.is_empty())
            .collect();
        paragraphs.join("\n\n")
    }
}

fn object(message: &DescriptorProto, comments: &Comments<'_>, path: &[i32]) -> Value {
    let below = |field: i32, index: i32| {
        let mut path = path.to_vec();
        path.extend([field, index]);
        path
    };
    let description = comments.at(path);
    let mut properties = Map::new();
    let mut choices: Vec<Vec<&str>> = vec![Vec::new(); message.oneof_decl.len()];
    for (index, field) in (0..).zip(&message.field) {
        let mut schema = of_field(field, message);
        let text = comments.at(&below(MESSAGE_FIELD, index));
        if let (Value::Object(schema), false) = (&mut schema, text.is_empty()) {
            schema.insert("description".to_owned(), text.into());
        }
        properties.insert(field.name().to_owned(), schema);
        let choice = field
            .oneof_index
            .filter(|_| !field.proto3_optional())
            .and_then(|index| choices.get_mut(usize::try_from(index).ok()?));
        if let Some(choice) = choice {
            choice.push(field.name());
        }
    }
    let mut schema = json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": false,
    });
    let rules: Vec<Value> = (0..)
        .zip(choices)
        .filter(|(_, names)| !names.is_empty())
        .map(|(index, names)| {
            let said = comments.at(&below(MESSAGE_ONEOF, index));
            let one_is_set =
                said.contains("Exactly one is set") || description.contains("Exactly one is set");
            one_of(&names, one_is_set)
        })
        .collect();
    if let (Value::Object(schema), false) = (&mut schema, rules.is_empty()) {
        schema.insert("allOf".to_owned(), rules.into());
    }
    schema
}

/// An enum: its names, but for the one that stands for an absent field.
fn choice(of: &EnumDescriptorProto, comments: &Comments<'_>, path: &[i32]) -> Value {
    let mut names = Vec::new();
    let mut description = vec![comments.at(path)];
    for (index, value) in (0..).zip(&of.value).filter(|(_, v)| v.number() != 0) {
        let said = comments.at(&[path, &[ENUM_VALUE, index]].concat());
        description.push(format!("`{}`: {said}", value.name()));
        names.push(value.name());
    }
    json!({"type": "string", "enum": names, "description": description.join("\n\n")})
}

/// That exactly one of the fields is set, or at most one.
fn one_of(names: &[&str], one_is_set: bool) -> Value {
    let each = names.iter().map(|name| json!({"required": [name]}));
    let mut ways: Vec<Value> = each.clone().collect();
    if !one_is_set {
        ways.push(json!({"not": {"anyOf": each.collect::<Vec<_>>()}}));
    }
    json!({"oneOf": ways})
}

fn of_field(field: &FieldDescriptorProto, message: &DescriptorProto) -> Value {
    let short = field.type_name().rsplit('.').next().unwrap_or_default();
    let map = message.nested_type.iter().find(|nested| {
        nested.name() == short && nested.options.as_ref().is_some_and(|o| o.map_entry())
    });
    if let Some(value) = map.and_then(|entry| entry.field.iter().find(|field| field.number() == 2))
    {
        return json!({"type": "object", "additionalProperties": of_type(value)});
    }
    if field.label() == Label::Repeated {
        return json!({"type": "array", "items": of_type(field)});
    }
    of_type(field)
}

fn of_type(field: &FieldDescriptorProto) -> Value {
    match field.r#type() {
        Type::String => json!({"type": "string"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Int32 | Type::Sint32 | Type::Sfixed32 => {
            json!({"type": "integer", "format": "int32"})
        }
        Type::Uint32 | Type::Fixed32 => {
            json!({"type": "integer", "format": "uint32", "minimum": 0})
        }
        // The JSON mapping writes 64 bits as text, which every JSON reader keeps exact.
        Type::Int64 | Type::Sint64 | Type::Sfixed64 => {
            json!({"type": "string", "pattern": "^-?[0-9]+$"})
        }
        Type::Uint64 | Type::Fixed64 => json!({"type": "string", "pattern": "^[0-9]+$"}),
        Type::Float | Type::Double => json!({"type": "number"}),
        Type::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Type::Enum | Type::Group | Type::Message => match field.type_name() {
            ".google.protobuf.Duration" => json!({
                "type": "string",
                "pattern": "^([0-9]+(\\.[0-9]+)?(h|m|s|ms|us|ns))+$",
                "examples": ["250ms", "2s", "1m30s"],
            }),
            ".google.protobuf.Struct" => json!({"type": "object"}),
            // A nested one goes by its message's name too: `Cluster.Protocol`.
            name => schema(
                name.trim_start_matches('.')
                    .trim_start_matches("fleetway.v1."),
            ),
        },
    }
}
