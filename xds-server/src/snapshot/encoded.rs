//! The wire form of a resource, made once.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use fleetway_api::{Kind, Resource, proto::v1};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// A resource as `envoy.service.discovery.v3.Resource`, encoded.
///
/// The message inside stands at the end, so that it can be read without a second copy.
#[derive(Clone)]
pub struct Encoded {
    kind: Kind,
    frame: Bytes,
    message_at: usize,
}

/// Without the bytes: those of a secret are private.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("kind", &self.kind)
            .field("bytes", &self.frame.len())
            .finish_non_exhaustive()
    }
}

/// `DeltaDiscoveryResponse.resources` holds these: name = 3, version = 1, resource = 2.
const VERSION: u32 = 1;
const RESOURCE: u32 = 2;
const NAME: u32 = 3;
/// `google.protobuf.Any`
const TYPE_URL: u32 = 1;
const VALUE: u32 = 2;

impl Encoded {
    /// Encodes a resource at a version. `None` for a message without a kind.
    #[must_use]
    pub fn new(message: &v1::Resource, name: &str, version: u64) -> Option<Self> {
        let (kind, value) = fleetway_api::encode_message(message)?;
        let (frame, message_at) = frame(kind.type_url(), name, &version.to_string(), &value);
        Some(Self {
            kind,
            frame,
            message_at,
        })
    }

    /// The encoded `envoy.service.discovery.v3.Resource`.
    #[must_use]
    pub const fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The encoded message inside.
    #[must_use]
    pub fn message(&self) -> Bytes {
        self.frame.slice(self.message_at..)
    }

    /// The message inside. That of a component shares its bytes with this.
    ///
    /// # Errors
    /// Never for bytes made by [`Encoded::new`].
    pub fn decode(&self) -> Result<v1::Resource, prost::DecodeError> {
        fleetway_api::decode_message(self.kind, self.message())
    }

    /// Has a component share its bytes with this, its wire form, so that they are there once.
    pub fn lend(&self, resource: &mut Resource) {
        if let Resource::Component(component) = resource
            && let Ok(message) = self.decode()
            && let Some(v1::resource::Kind::Component(message)) = message.kind
        {
            component.wasm = message.wasm;
        }
    }

    /// Whether the message is the same as that of `other`, whatever their versions.
    #[must_use]
    pub fn same_message(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.frame.get(self.message_at..) == other.frame.get(other.message_at..)
    }

    /// Validates the message again, as a store's contents are on start.
    ///
    /// # Errors
    /// When a newer program wrote what this one does not accept.
    pub fn read(&self) -> Result<Resource, Vec<fleetway_api::FieldError>> {
        Resource::decode(self.kind, self.message())
    }
}

/// Encodes one resource of a response by hand, so that the message comes last and is not copied
/// through an intermediate `Any`. Also gives where the message begins.
#[must_use]
pub fn frame(type_url: &str, name: &str, version: &str, value: &[u8]) -> (Bytes, usize) {
    let any = field_len(type_url.len()) + field_len(value.len());
    let total = field_len(version.len()) + field_len(name.len()) + field_len(any);
    let mut buffer = BytesMut::with_capacity(total);
    let put = |buffer: &mut BytesMut, tag: u32, bytes: &[u8]| {
        put_head(buffer, tag, bytes.len());
        buffer.put_slice(bytes);
    };
    put(&mut buffer, VERSION, version.as_bytes());
    put(&mut buffer, NAME, name.as_bytes());
    put_head(&mut buffer, RESOURCE, any);
    put(&mut buffer, TYPE_URL, type_url.as_bytes());
    put_head(&mut buffer, VALUE, value.len());
    let at = buffer.len();
    buffer.put_slice(value);
    (buffer.freeze(), at)
}

fn put_head(buffer: &mut BytesMut, tag: u32, len: usize) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(len as u64, buffer);
}

/// The length of a length-delimited field whose tag is below 16.
fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3 as discovery;
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_frame_is_what_prost_makes_of_the_same_resource() {
        let route = v1::Route {
            name: "users".into(),
            priority: 3,
            ..v1::Route::default()
        };
        let value = route.encode_to_vec();
        let message = v1::Resource {
            kind: Some(v1::resource::Kind::Route(route)),
        };
        let encoded = Encoded::new(&message, "users", 42).unwrap();
        let resource = discovery::Resource::decode(encoded.frame().clone()).unwrap();
        assert_eq!(resource.name, "users");
        assert_eq!(resource.version, "42");
        let any = resource.resource.unwrap();
        assert_eq!(any.type_url, Kind::Route.type_url());
        assert_eq!(any.value, value);
        assert_eq!(encoded.decode().unwrap(), message);
    }

    #[test]
    fn what_is_printed_of_a_secret_holds_no_key() {
        let secret = v1::Secret {
            name: "web".into(),
            kind: Some(v1::secret::Kind::Certificate(v1::Certificate {
                private_key: "the key itself".into(),
                ..v1::Certificate::default()
            })),
            ..v1::Secret::default()
        };
        let message = v1::Resource {
            kind: Some(v1::resource::Kind::Secret(secret)),
        };
        let encoded = Encoded::new(&message, "web", 1).unwrap();
        let key = b"the key itself";
        assert!(encoded.frame().windows(key.len()).any(|part| part == key));
        let response = crate::delta::Response {
            type_url: "".into(),
            revision: 1,
            resources: vec![encoded.frame().clone()],
            removed: Vec::new(),
            nonce: String::new(),
        };
        for printed in [format!("{encoded:?}"), format!("{response:?}")] {
            assert!(!printed.contains("key itself"), "{printed}");
        }
    }
}
