//! The route table: lookups and one-route updates at three sizes, and its memory.
//!
//! The routes are spread over virtual hosts of ten, or all in one. Seven routes in ten have a
//! prefix, two an exact path, one a template. The allocation columns of `build` give the table's
//! own memory: what it allocates and grows less what it frees, over the number of routes.

use std::{fmt, hint::black_box, sync::Arc};

use divan::{AllocProfiler, Bencher};
use fleetway_api::{Entry, Resource, Route, proto::v1};
use fleetway_proxy::route::{Change, RequestView, RouteTable, Routed};
use http::{HeaderMap, Method};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// What a snapshot holds for a route: the shared resource and something of its own.
struct Payload {
    resource: Arc<Entry<u64>>,
}

impl Routed for Payload {
    fn route(&self) -> &Route {
        match &self.resource.resource {
            Resource::Route(route) => route,
            _ => unreachable!("made from a route"),
        }
    }
}

#[derive(Clone, Copy)]
struct Shape {
    routes: usize,
    hosts: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} in hosts: {:>6}", self.routes, self.hosts)
    }
}

const fn shape(routes: usize, hosts: usize) -> Shape {
    Shape { routes, hosts }
}

const SHAPES: [Shape; 6] = [
    shape(10, 1),
    shape(1_000, 1),
    shape(100_000, 1),
    shape(10, 2),
    shape(1_000, 100),
    shape(100_000, 10_000),
];
const LARGE: [Shape; 2] = [shape(100_000, 1), shape(100_000, 10_000)];
/// Every route with a host of its own, which costs the most memory.
const BUILT: [Shape; 3] = [
    shape(100_000, 1),
    shape(100_000, 10_000),
    shape(100_000, 100_000),
];

impl Shape {
    fn host(self, index: usize) -> String {
        format!("shop-{}.example.com", index % self.hosts)
    }

    fn payload(self, index: usize, label: u32) -> Arc<Payload> {
        let path = match index % 10 {
            0 => json!({"template": format!("/api/v1/service-{index}/items/{{id}}")}),
            1 | 2 => json!({"exact": format!("/api/v1/service-{index}/status")}),
            _ => json!({"prefix": format!("/api/v1/service-{index}")}),
        };
        let document = json!({
            "name": format!("route-{index}"),
            "labels": {"n": label.to_string()},
            "match": {"hosts": [self.host(index)], "path": path},
            "forward": {"clusters": [{"name": "upstream"}]},
        });
        let message: v1::Route = serde_json::from_value(document).expect("a route");
        let kind = Some(v1::resource::Kind::Route(message));
        let resource = Resource::read(v1::Resource { kind }).expect("a valid route");
        Arc::new(Payload {
            resource: Arc::new(Entry { resource, data: 1 }),
        })
    }

    fn payloads(self) -> Vec<Arc<Payload>> {
        (0..self.routes)
            .map(|index| self.payload(index, 0))
            .collect()
    }

    fn request(self, index: usize) -> (String, String) {
        let path = match index % 10 {
            0 => format!("/api/v1/service-{index}/items/4711"),
            1 | 2 => format!("/api/v1/service-{index}/status"),
            _ => format!("/api/v1/service-{index}/orders/4711"),
        };
        (self.host(index), path)
    }

    /// Requests for `routes` of the routes, in random order.
    fn requests(self, routes: usize) -> Vec<(String, String)> {
        let mut random = StdRng::seed_from_u64(1);
        let popular: Vec<usize> = (0..routes)
            .map(|_| random.random_range(0..self.routes))
            .collect();
        (0..65_536)
            .filter_map(|_| popular.get(random.random_range(0..routes)))
            .map(|index| self.request(*index))
            .collect()
    }
}

fn look_up(bencher: Bencher<'_, '_>, shape: Shape, popular: usize) {
    let table = RouteTable::new(shape.payloads());
    let requests = shape.requests(popular);
    let headers = HeaderMap::new();
    let mut next = requests.iter().cycle();
    bencher
        .with_inputs(|| next.next().expect("an endless list"))
        .bench_local_values(|(host, path)| {
            let request = RequestView {
                host,
                path,
                query: None,
                method: &Method::GET,
                headers: &headers,
                tags: &[],
            };
            // A reference, so that the count of the Arc is left alone.
            black_box(table.lookup(black_box(&request))).is_some()
        });
}

/// Every route as likely as any other: at 100,000 each is met with cold caches.
#[divan::bench(args = SHAPES, sample_count = 1_000, sample_size = 256)]
fn lookup_of_any_route(bencher: Bencher<'_, '_>, shape: Shape) {
    look_up(bencher, shape, shape.routes);
}

/// A thousand routes have all the traffic.
#[divan::bench(args = SHAPES, sample_count = 1_000, sample_size = 256)]
fn lookup_of_a_popular_route(bencher: Bencher<'_, '_>, shape: Shape) {
    look_up(bencher, shape, 1_000);
}

/// No route takes the request.
#[divan::bench(args = SHAPES, sample_count = 1_000, sample_size = 256)]
fn lookup_in_vain(bencher: Bencher<'_, '_>, shape: Shape) {
    let table = RouteTable::new(shape.payloads());
    let headers = HeaderMap::new();
    let request = RequestView {
        host: "shop-0.example.com",
        path: "/api/v1/service/items/that/are/not/there",
        query: None,
        method: &Method::GET,
        headers: &headers,
        tags: &[],
    };
    bencher.bench_local(|| table.lookup(black_box(&request)).is_some());
}

/// One route is put in place of its like, each time another.
#[divan::bench(args = LARGE, sample_count = 1_000, sample_size = 1)]
fn update_of_one_route(bencher: Bencher<'_, '_>, shape: Shape) {
    let payloads = shape.payloads();
    let table = RouteTable::new(payloads.iter().cloned());
    let mut random = StdRng::seed_from_u64(2);
    bencher
        .with_inputs(|| {
            let index = random.random_range(0..shape.routes);
            (payloads.get(index), shape.payload(index, 1))
        })
        .bench_local_values(|(old, new)| {
            let remove = old.map(|old| Change::Remove(old.route()));
            table.update(remove.into_iter().chain([Change::Add(new)]))
        });
}

#[divan::bench(args = BUILT, sample_count = 5, sample_size = 1)]
fn build(bencher: Bencher<'_, '_>, shape: Shape) {
    let payloads = shape.payloads();
    bencher
        .with_inputs(|| payloads.clone())
        .bench_local_values(RouteTable::new);
}
