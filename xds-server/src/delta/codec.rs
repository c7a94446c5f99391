//! A response and its encoding: the resources' shared bytes are written straight into the buffer.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::{BufMut, Bytes};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// An `envoy.service.discovery.v3.DeltaDiscoveryResponse` whose resources are encoded already.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The type of what it carries.
    pub type_url: Cow<'static, str>,
    /// The revision it belongs to.
    pub revision: u64,
    /// Encoded `envoy.service.discovery.v3.Resource`s.
    pub resources: Vec<Bytes>,
    /// The names of what is gone.
    pub removed: Vec<Arc<str>>,
    /// What the client answers with; unique on its stream.
    pub nonce: String,
}

/// Without the bytes of the resources: those of secrets are private.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("type_url", &self.type_url)
            .field("revision", &self.revision)
            .field("resources", &self.resources.len())
            .field("removed", &self.removed)
            .field("nonce", &self.nonce)
            .finish()
    }
}

/// The fields of `DeltaDiscoveryResponse`.
const SYSTEM_VERSION_INFO: u32 = 1;
const RESOURCES: u32 = 2;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED_RESOURCES: u32 = 6;

impl Response {
    /// Writes the message.
    pub fn encode(&self, buffer: &mut impl BufMut) {
        let version = self.revision.to_string();
        put(buffer, SYSTEM_VERSION_INFO, version.as_bytes());
        for resource in &self.resources {
            put(buffer, RESOURCES, resource);
        }
        put(buffer, TYPE_URL, self.type_url.as_bytes());
        put(buffer, NONCE, self.nonce.as_bytes());
        for name in &self.removed {
            put(buffer, REMOVED_RESOURCES, name.as_bytes());
        }
    }
}

fn put(buffer: &mut impl BufMut, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(bytes.len() as u64, buffer);
    buffer.put_slice(bytes);
}

/// Requests as prost reads them, responses as [`Response::encode`] writes them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DeltaCodec;

impl Codec for DeltaCodec {
    type Encode = Response;
    type Decode = DeltaDiscoveryRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for DeltaCodec {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, item: Response, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer);
        Ok(())
    }
}

impl Decoder for DeltaCodec {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        DeltaDiscoveryRequest::decode(buffer)
            .map(Some)
            .map_err(|error| {
                Status::invalid_argument(format!("not a DeltaDiscoveryRequest: {error}"))
            })
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3 as discovery;
    use fleetway_api::Kind;

    use super::*;
    use crate::delta::testing::{next, put};

    #[test]
    fn a_response_is_encoded_as_prost_does() {
        let state = next(
            &Arc::default(),
            &[put(Kind::Route, "a", &[]), put(Kind::Route, "b", &[])],
        );
        let frames: Vec<Bytes> = state
            .resources()
            .iter()
            .map(|entry| entry.data.encoded.frame().clone())
            .collect();
        let message = discovery::DeltaDiscoveryResponse {
            system_version_info: "7".into(),
            resources: frames
                .iter()
                .map(|frame| discovery::Resource::decode(frame.clone()).unwrap())
                .collect(),
            type_url: Kind::Route.type_url().into(),
            removed_resources: vec!["c".into(), "d".into()],
            nonce: "3-1".into(),
            ..discovery::DeltaDiscoveryResponse::default()
        };
        let response = Response {
            type_url: Kind::Route.type_url().into(),
            revision: 7,
            resources: frames,
            removed: vec!["c".into(), "d".into()],
            nonce: "3-1".into(),
        };
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        assert_eq!(
            discovery::DeltaDiscoveryResponse::decode(&*bytes).unwrap(),
            message
        );
        // prost orders the fields of a resource by their numbers, a frame has the message last:
        // the same message, and the same length.
        assert_eq!(bytes.len(), message.encoded_len());
    }
}
