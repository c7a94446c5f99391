//! `google.protobuf.Struct` with its fields in order, so that equal ones have equal bytes. In JSON it
//! is the object it stands for; whole numbers a double cannot hold are refused.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
    ser::{self, SerializeMap as _},
};

use self::value::Kind;

/// A JSON object as `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    /// Its fields, by name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// Any JSON value as `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// What it is; none is no value at all.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// The list in a [`Value`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListValue {
    /// Its values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// What a [`Value`] can be.
pub mod value {
    use super::{ListValue, Struct};

    /// A value of JSON.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        /// `null`, whatever the number.
        #[prost(int32, tag = "1")]
        Null(i32),
        /// A number.
        #[prost(double, tag = "2")]
        Number(f64),
        /// A text.
        #[prost(string, tag = "3")]
        Text(String),
        /// `true` or `false`.
        #[prost(bool, tag = "4")]
        Bool(bool),
        /// An object.
        #[prost(message, tag = "5")]
        Object(Struct),
        /// A list.
        #[prost(message, tag = "6")]
        List(ListValue),
    }
}

/// The first whole number after which a double cannot hold every one.
const EXACT: u64 = 1 << 53;

impl From<Kind> for Value {
    fn from(kind: Kind) -> Self {
        Self { kind: Some(kind) }
    }
}

impl Serialize for Struct {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.kind {
            None | Some(Kind::Null(_)) => serializer.serialize_unit(),
            Some(Kind::Number(number)) => serialize_number(*number, serializer),
            Some(Kind::Text(text)) => serializer.serialize_str(text),
            Some(Kind::Bool(value)) => serializer.serialize_bool(*value),
            Some(Kind::Object(object)) => object.serialize(serializer),
            Some(Kind::List(list)) => serializer.collect_seq(&list.values),
        }
    }
}

/// A whole number as one, as it was written.
fn serialize_number<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if !number.is_finite() {
        return Err(ser::Error::custom("a number that is not finite"));
    }
    if number.fract() == 0.0 && number.abs() <= EXACT as f64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and small enough"
        )]
        return serializer.serialize_i64(number as i64);
    }
    serializer.serialize_f64(number)
}

impl<'de> Deserialize<'de> for Struct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Struct;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Struct, A::Error> {
                read_object(access)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

fn read_object<'de, A: MapAccess<'de>>(mut access: A) -> Result<Struct, A::Error> {
    let mut fields = BTreeMap::new();
    while let Some((name, value)) = access.next_entry()? {
        fields.insert(name, value);
    }
    Ok(Struct { fields })
}

/// Reads any value.
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Kind::Null(0).into())
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Kind::Bool(value).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Kind::Number(value).into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        whole(value, value.unsigned_abs())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        whole(value, value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Kind::Text(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Kind::List(ListValue { values }).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        read_object(access).map(|object| Kind::Object(object).into())
    }
}

/// A whole number, if it can be kept as it is.
fn whole<E: de::Error>(value: impl fmt::Display, size: u64) -> Result<Value, E> {
    // Through text: it is exact up to the bound, and the sign stays.
    match value.to_string().parse() {
        Ok(number) if size <= EXACT => Ok(Kind::Number(number).into()),
        _ => Err(E::custom(format_args!(
            "{value} cannot be kept exactly, being beyond 2^53: write it as a string"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    const TEXT: &str = r#"{"a":[1,-2.5,true,null,"x"],"b":{"c":9007199254740992,"d":{}},"e":""}"#;

    #[test]
    fn an_object_reads_and_prints_as_it_is_written() {
        let read: Struct = serde_json::from_str(TEXT).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), TEXT);
        let bytes = read.encode_to_vec();
        assert_eq!(Struct::decode(&*bytes).unwrap(), read);
        let turned: Struct = serde_json::from_str(r#"{"b":1,"a":2}"#).unwrap();
        assert_eq!(serde_json::to_string(&turned).unwrap(), r#"{"a":2,"b":1}"#);
    }

    #[test]
    fn what_is_no_object_or_no_exact_number_is_refused() {
        for (text, said) in [
            ("[]", "expected an object"),
            ("1", "expected an object"),
            (r#"{"a":9007199254740993}"#, "beyond 2^53"),
            (r#"{"a":[-9007199254740993]}"#, "beyond 2^53"),
        ] {
            let error = serde_json::from_str::<Struct>(text).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }
}
