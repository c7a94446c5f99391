//! What the tests of this module share: resources from YAML, responses, and what a set holds.

use std::collections::BTreeMap;

use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as WireResource},
    google::protobuf::Any,
};
use fleetway_api::{
    Kind,
    document::{self, Expected, Format},
    encode_message,
    proto::{type_url, v1},
};
use prost::Message as _;

use super::{
    held::Held,
    push::{BARRIER, Push},
};

/// The wire form of a YAML document that has its shape right; it need not be valid.
pub(super) fn wire(version: &str, yaml: &str) -> WireResource {
    let value = document::parse(yaml, Format::Yaml).unwrap().remove(0);
    let document = document::read(value, Expected::default(), "test").unwrap();
    WireResource {
        name: document.id.name.to_string(),
        version: version.to_owned(),
        resource: Some(Any {
            type_url: document.id.kind.type_url().to_owned(),
            value: encode_message(&document.message).unwrap().1,
        }),
        ..WireResource::default()
    }
}

pub(super) fn cluster(version: &str, name: &str) -> WireResource {
    let yaml =
        format!("{{kind: Cluster, name: {name}, endpoints: [{{address: \"127.0.0.1:1\"}}]}}");
    wire(version, &yaml)
}

pub(super) fn route(version: &str, name: &str, cluster: &str) -> WireResource {
    wire(
        version,
        &format!(
            "{{kind: Route, name: {name}, match: {{path: {{prefix: /{name}}}}}, forward: {{clusters: [{{name: {cluster}}}]}}}}"
        ),
    )
}

/// A response; its nonce is `nonce`, and a revision of 0 leaves `system_version_info` empty.
pub(super) fn response(
    kind: Kind,
    revision: u64,
    nonce: &str,
    resources: Vec<WireResource>,
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: if revision == 0 {
            String::new()
        } else {
            revision.to_string()
        },
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        resources,
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

pub(super) fn barrier(revision: u64, nonce: &str) -> DeltaDiscoveryResponse {
    let message = v1::Revision {
        number: revision,
        time_ms: 1_700_000_000_000,
        ..v1::Revision::default()
    };
    DeltaDiscoveryResponse {
        system_version_info: revision.to_string(),
        type_url: type_url::REVISION.to_owned(),
        nonce: nonce.to_owned(),
        resources: vec![WireResource {
            name: BARRIER.to_owned(),
            version: format!("{revision}@5a"),
            resource: Some(Any {
                type_url: type_url::REVISION.to_owned(),
                value: message.encode_to_vec(),
            }),
            ..WireResource::default()
        }],
        ..DeltaDiscoveryResponse::default()
    }
}

/// A configuration of a cluster and `routes` routes to it.
pub(super) fn held(routes: usize) -> Held {
    let routes = (0..routes)
        .map(|index| route("7", &format!("r{index}"), "c"))
        .collect();
    let push = Push {
        base: Held::default(),
        responses: vec![
            response(Kind::Cluster, 7, "", vec![cluster("7", "c")], &[]),
            response(Kind::Route, 7, "", routes, &[]),
            barrier(7, ""),
        ],
        barrier: true,
    };
    push.build().unwrap().held
}

/// Every resource, with its version and bytes.
pub(super) fn contents(held: &Held) -> BTreeMap<String, (String, Vec<u8>)> {
    held.resources()
        .iter()
        .map(|entry| {
            let received = (entry.data.version.to_string(), entry.data.wire.to_vec());
            (entry.resource.id().to_string(), received)
        })
        .collect()
}
