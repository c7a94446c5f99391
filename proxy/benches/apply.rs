//! From the bytes of one changed route to the swapped snapshot, beside tables of three sizes, and
//! what a route costs in memory.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark"
)]

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use divan::Bencher;
use fleetway_api::{Change, Entry, Kind, Resource, proto::v1};
use fleetway_proxy::snapshot::{Live, Origin, Received, Resources, Snapshot, Update, Version};
use prost::Message as _;

const WORKERS: usize = 2;
const SIZES: [usize; 3] = [10, 1_000, 100_000];

fn main() {
    memory(100_000);
    divan::main();
}

/// A simple route: one of a thousand for each host, forwarded to one of ten clusters.
fn route(index: usize, timeout: i64) -> Vec<u8> {
    let duration = fleetway_api::proto::Duration {
        seconds: timeout,
        nanos: 0,
    };
    v1::Route {
        name: format!("route-{index}"),
        r#match: Some(v1::RouteMatch {
            hosts: vec![format!("host-{}.example.com", index / 1000)],
            path: Some(v1::PathMatch {
                kind: Some(v1::path_match::Kind::Prefix(format!("/service/{index}"))),
            }),
            ..Default::default()
        }),
        action: Some(v1::route::Action::Forward(v1::Forward {
            clusters: vec![v1::WeightedCluster {
                name: format!("cluster-{}", index % 10),
                weight: None,
            }],
            timeout: Some(duration),
            ..Default::default()
        })),
        ..Default::default()
    }
    .encode_to_vec()
}

fn cluster(index: usize) -> Vec<u8> {
    let endpoint = v1::Endpoint {
        address: "127.0.0.1:9000".into(),
        weight: None,
    };
    v1::Cluster {
        name: format!("cluster-{index}"),
        endpoints: vec![endpoint],
        ..Default::default()
    }
    .encode_to_vec()
}

fn put(kind: Kind, bytes: &[u8]) -> Change<Received> {
    let resource = Resource::decode(kind, bytes).unwrap_or_else(|faults| panic!("{faults:?}"));
    Change::Put(Arc::new(Entry {
        resource,
        data: Received {
            version: Version::from(1),
            wire: Bytes::copy_from_slice(bytes),
        },
    }))
}

fn update(before: &Resources, changes: Vec<Change<Received>>) -> Update {
    let changed = changes.iter().map(Change::id).collect();
    let resources = before
        .apply(changes)
        .unwrap_or_else(|faults| panic!("{faults}"));
    Update {
        resources,
        changed,
        revision: 1,
        time_ms: 0,
        origin: Origin::Nowhere,
    }
}

fn snapshot(routes: usize) -> Snapshot {
    let listener = v1::Listener {
        name: "web".into(),
        address: "127.0.0.1:0".into(),
        protocol: Some(v1::listener::Protocol::Http(v1::HttpListener::default())),
        ..Default::default()
    };
    let mut changes = vec![put(Kind::Listener, &listener.encode_to_vec())];
    changes.extend((0..10).map(|index| put(Kind::Cluster, &cluster(index))));
    changes.extend((0..routes).map(|index| put(Kind::Route, &route(index, 1))));
    Snapshot::default()
        .next(
            update(&Resources::default(), changes),
            Default::default(),
            0,
            WORKERS,
        )
        .unwrap()
}

/// One changed route: its bytes decoded and validated, the next set and snapshot built, swapped.
#[divan::bench(args = SIZES)]
fn one_route_changed(bencher: Bencher<'_, '_>, routes: usize) {
    let live = Live::new(snapshot(routes));
    let mut round = 0;
    bencher.bench_local(|| {
        round += 1;
        let bytes = route(routes / 2, round);
        let before = live.load();
        let update = update(&before.resources, vec![put(Kind::Route, &bytes)]);
        live.swap(Arc::new(
            before.next(update, Default::default(), 0, WORKERS).unwrap(),
        ));
    });
}

/// A whole configuration from its bytes, as after a start.
#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn whole_configuration(routes: usize) -> Snapshot {
    black_box(snapshot(routes))
}

/// Tells what a route costs, by how much the process grew.
fn memory(routes: usize) {
    drop(snapshot(1_000));
    let before = resident();
    let held = black_box(snapshot(routes));
    let grown = resident().saturating_sub(before);
    println!(
        "memory: {} bytes for each of {routes} routes",
        grown / routes
    );
    drop(held);
}

/// Resident memory in bytes; 0 where `/proc` does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap_or_default()
        * 1024
}
