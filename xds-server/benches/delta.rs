//! What a change costs the management server: from the validated write, without the store's
//! flush, to bytes on a stream and to the last acknowledgement.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and may panic"
)]

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use divan::Bencher;
use envoy_types::pb::envoy::{
    config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest,
};
use fleetway_api::{
    Change, Kind, Resource,
    proto::{type_url, v1},
};
use fleetway_xds::{
    delta::{BARRIER_FEATURE, Exposure, Response, Session},
    snapshot::{Encoded, Entry, Snapshot, Stored},
};

fn main() {
    let (state, used) = measured(|| state(100_000));
    let routes = state.resources().len();
    println!(
        "memory: {} bytes for each of {routes} routes",
        used / routes
    );
    drop(state);
    divan::main();
}

fn entry(n: usize, revision: u64) -> Arc<Entry> {
    let name = format!("route-{n:06}");
    let message = v1::Resource {
        kind: Some(v1::resource::Kind::Route(v1::Route {
            name: name.clone(),
            labels: [("salt".to_owned(), revision.to_string())].into(),
            r#match: Some(v1::RouteMatch {
                hosts: vec![format!("host-{}.example.com", n / 10)],
                path: Some(v1::PathMatch {
                    kind: Some(v1::path_match::Kind::Prefix(format!("/api/v1/{n}"))),
                }),
                ..v1::RouteMatch::default()
            }),
            action: Some(v1::route::Action::Respond(v1::DirectResponse {
                status: 200,
                ..v1::DirectResponse::default()
            })),
            ..v1::Route::default()
        })),
    };
    let encoded = Encoded::new(&message, &name, revision).unwrap();
    Arc::new(Entry {
        resource: Resource::read(message).unwrap(),
        data: Stored {
            version: revision,
            created_ms: 0,
            updated_ms: 0,
            updated_by: "bench".into(),
            encoded,
        },
    })
}

fn state(routes: usize) -> Arc<Snapshot> {
    let entries = (0..routes).map(|n| entry(n, 1)).collect();
    Arc::new(Snapshot::restored(1, 0, entries).unwrap())
}

/// The state after one route was changed.
fn change(current: &Snapshot) -> Arc<Snapshot> {
    let revision = current.revision() + 1;
    let routes = current.resources().of(Kind::Route).len();
    let n = usize::try_from(revision).unwrap() * 7919 % routes;
    let changes = vec![Change::Put(entry(n, revision))];
    Arc::new(current.next(revision, 0, changes).unwrap())
}

fn request(url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// A client that has everything.
fn session(number: u64, snapshot: &Arc<Snapshot>, versions: &HashMap<String, String>) -> Session {
    let mut session = Session::new(number, snapshot.clone()).exposed(Exposure::None);
    for url in [
        type_url::CLUSTER,
        type_url::ENDPOINTS,
        type_url::LISTENER,
        type_url::ROUTE,
        type_url::REVISION,
    ] {
        let mut request = request(url);
        request.node = Some(Node {
            id: format!("node-{number}"),
            cluster: "edge".to_owned(),
            client_features: vec![BARRIER_FEATURE.to_owned()],
            ..Node::default()
        });
        if url == type_url::ROUTE {
            request.initial_resource_versions.clone_from(versions);
        }
        session.on_request(request, 0).unwrap();
    }
    let mut buffer = Vec::new();
    deliver(&mut session, &mut buffer);
    session
}

fn versions(snapshot: &Snapshot) -> HashMap<String, String> {
    let resources = snapshot.resources().iter();
    resources
        .map(|entry| {
            (
                entry.resource.name().to_string(),
                entry.data.version.to_string(),
            )
        })
        .collect()
}

/// Encodes what the session has to send into `buffer`, and acknowledges it.
fn deliver(session: &mut Session, buffer: &mut Vec<u8>) {
    let responses: Vec<Response> = std::iter::from_fn(|| session.next_response()).collect();
    for response in &responses {
        response.encode(buffer);
    }
    for response in responses {
        let mut answer = request(&response.type_url);
        answer.response_nonce = response.nonce;
        session.on_request(answer, 0).unwrap();
    }
}

/// One route changed → its bytes on one stream.
#[divan::bench(args = [1_000, 100_000])]
fn change_to_bytes(bencher: Bencher<'_, '_>, routes: usize) {
    let snapshot = state(routes);
    let session = session(0, &snapshot, &versions(&snapshot));
    let world = RefCell::new((snapshot, session, Vec::with_capacity(4096)));
    bencher.bench_local(|| {
        let (snapshot, session, buffer) = &mut *world.borrow_mut();
        buffer.clear();
        *snapshot = change(snapshot);
        session.on_snapshot(snapshot.clone(), 0);
        deliver(session, buffer);
        buffer.len()
    });
}

/// One route changed → acknowledged by 1,000 clients, without the network.
#[divan::bench(args = [1_000, 10_000], sample_count = 20)]
fn change_to_all_acknowledged(bencher: Bencher<'_, '_>, routes: usize) {
    let snapshot = state(routes);
    let versions = versions(&snapshot);
    let sessions: Vec<Session> = (0..1_000)
        .map(|number| session(number, &snapshot, &versions))
        .collect();
    let world = RefCell::new((snapshot, sessions, Vec::with_capacity(4096)));
    bencher.bench_local(|| {
        let (snapshot, sessions, buffer) = &mut *world.borrow_mut();
        *snapshot = change(snapshot);
        for session in sessions {
            buffer.clear();
            session.on_snapshot(snapshot.clone(), 0);
            deliver(session, buffer);
        }
    });
}

/// A client comes back with everything but one route.
#[divan::bench(args = [1_000, 100_000], sample_count = 20)]
fn resume(bencher: Bencher<'_, '_>, routes: usize) {
    let snapshot = state(routes);
    let versions = versions(&snapshot);
    let snapshot = change(&snapshot);
    bencher.bench_local(|| session(0, &snapshot, &versions));
}

/// A new client is sent everything.
#[divan::bench(args = [1_000, 100_000], sample_count = 20)]
fn first_sync(bencher: Bencher<'_, '_>, routes: usize) {
    let snapshot = state(routes);
    bencher.bench_local(|| session(0, &snapshot, &HashMap::new()));
}

/// The result, and how much the process's resident memory grew for it.
fn measured<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = resident();
    let made = make();
    (made, resident().saturating_sub(before))
}

/// Resident memory in bytes; 0 where `/proc` does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.unwrap_or(0) * 1024
}
