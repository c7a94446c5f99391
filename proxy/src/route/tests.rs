//! The table as a whole, by example and against a plain reading of the order.

use std::cmp::Reverse;

use fleetway_api::{HostPattern, PathMatch, Resource, Segment, proto::v1};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The valid route of a document.
pub(super) fn route(document: &Value) -> Route {
    let message: v1::Route = serde_json::from_value(document.clone()).expect("a route");
    let message = v1::Resource {
        kind: Some(v1::resource::Kind::Route(message)),
    };
    match Resource::read(message) {
        Ok(Resource::Route(route)) => *route,
        other => panic!("{document}: {other:?}"),
    }
}

fn table(matches: &[(&str, Value)]) -> RouteTable<Route> {
    RouteTable::new(matches.iter().map(|(name, matching)| {
        let mut document = json!({"name": name, "respond": {"status": 200}});
        if let Some(priority) = matching.get("priority") {
            document["priority"] = priority.clone();
        }
        let mut matching = matching.clone();
        matching.as_object_mut().unwrap().remove("priority");
        document["match"] = matching;
        Arc::new(route(&document))
    }))
}

/// Looks up `METHOD host/path?query`, with header fields as `name: value` after spaces.
fn look<'t>(table: &'t RouteTable<Route>, request: &str) -> &'t str {
    let mut parts = request.split("  ");
    let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    for field in parts {
        let (name, value) = field.split_once(": ").unwrap();
        headers.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let (target, query) = match target.split_once('?') {
        Some((target, query)) => (target, Some(query)),
        None => (target, None),
    };
    let (host, path) = target.split_at(target.find('/').unwrap());
    let request = RequestView {
        host,
        path,
        query,
        method: &method.parse().unwrap(),
        headers: &headers,
        tags: &[],
    };
    table
        .lookup(&request)
        .map_or("-", |route| route.common.name.as_str())
}

#[track_caller]
fn check(table: &RouteTable<Route>, cases: &[(&str, &str)]) {
    for (request, want) in cases {
        assert_eq!(look(table, request), *want, "{request}");
    }
}

#[test]
fn hosts_go_from_exact_over_the_longer_wildcard_to_any() {
    let table = table(&[
        (
            "exact",
            json!({"hosts": ["api.example.com"], "path": {"prefix": "/e"}}),
        ),
        (
            "wild",
            json!({"hosts": ["*.example.com"], "path": {"prefix": "/w"}}),
        ),
        ("wilder", json!({"hosts": ["*.eu.example.com", "[::1]"]})),
        ("any", json!({})),
    ]);
    check(
        &table,
        &[
            ("GET api.example.com/e", "exact"),
            ("GET API.Example.COM.:8443/e", "exact"),
            ("GET api.example.com/w", "wild"),
            ("GET api.example.com/x", "any"),
            ("GET a.b.example.com/w", "wild"),
            ("GET example.com/w", "any"),
            ("GET .example.com/w", "any"),
            ("GET xexample.com/w", "any"),
            ("GET a.eu.example.com/w", "wilder"),
            ("GET eu.example.com/w", "wild"),
            ("GET [::1]:80/w", "wilder"),
            ("GET /w", "any"),
        ],
    );
}

#[test]
fn paths_go_from_exact_over_templates_and_longer_prefixes_to_regexes() {
    let table = table(&[
        ("exact", json!({"path": {"exact": "/users/me"}})),
        ("template", json!({"path": {"template": "/users/{id}"}})),
        ("prefix", json!({"path": {"prefix": "/users/"}})),
        ("longer", json!({"path": {"prefix": "/users/7/posts"}})),
        ("regex", json!({"path": {"regex": "/u.*"}})),
        ("star", json!({"path": {"exact": "/*"}})),
    ]);
    check(
        &table,
        &[
            ("GET a/users/me?x", "exact"),
            ("GET a/users/7", "template"),
            ("GET a/users/", "prefix"),
            ("GET a/users", "prefix"),
            ("GET a/users/7/posts", "longer"),
            ("GET a/users/7/posts/1", "longer"),
            ("GET a/users/7/postscript", "prefix"),
            ("GET a/usersx", "regex"),
            ("GET a/Users", "-"),
            ("GET a/*", "star"),
        ],
    );
}

#[test]
fn templates_compare_segment_by_segment_from_the_left() {
    let table = table(&[
        ("cl", json!({"path": {"template": "/{a}/b"}})),
        ("lc", json!({"path": {"template": "/a/{b}"}})),
        ("lr", json!({"path": {"template": "/a/{b*}"}})),
        ("cc", json!({"path": {"template": "/{a}/{b}"}})),
        ("clc", json!({"path": {"template": "/{a}/b/{c}"}})),
        ("llx", json!({"path": {"template": "/a/b/x/y/{z}"}})),
        ("slash", json!({"path": {"template": "/a/{b}/"}})),
    ]);
    check(
        &table,
        &[
            ("GET a/a/b", "lc"),
            ("GET a/x/b", "cl"),
            ("GET a/x/y", "cc"),
            ("GET a/x/", "-"),
            ("GET a/x/b/c", "clc"),
            ("GET a/a/b/c", "lr"),
            ("GET a/a/b/x/y/z", "llx"),
            ("GET a/a/b/x/y/", "lr"),
            ("GET a/a/1/", "slash"),
            ("GET a/a/", "-"),
            ("GET a/a//", "lr"),
        ],
    );
}

#[test]
fn priority_overrides_host_and_path() {
    let table = table(&[
        ("exact", json!({"hosts": ["a"], "path": {"exact": "/x"}})),
        (
            "low",
            json!({"priority": -1, "hosts": ["a"], "path": {"exact": "/y"}}),
        ),
        ("maintenance", json!({"priority": 10, "methods": ["POST"]})),
        (
            "regex",
            json!({"priority": 1, "hosts": ["a"], "path": {"regex": "/x+"}}),
        ),
        ("rest", json!({})),
    ]);
    check(
        &table,
        &[
            ("GET a/x", "regex"),
            ("POST a/x", "maintenance"),
            ("GET a/y", "rest"),
            ("GET b/y", "rest"),
        ],
    );
}

#[test]
fn tags_that_policies_set_are_conditions_like_others() {
    let table = table(&[
        ("any", json!({})),
        ("canary", json!({"tags": {"cohort": "canary"}})),
        ("both", json!({"tags": {"cohort": "canary", "tier": ""}})),
        ("get", json!({"methods": ["GET"]})),
    ]);
    let look = |method: &Method, tags: &[(&str, &str)]| {
        let tags: Vec<(Box<str>, Box<str>)> = tags
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        let request = RequestView {
            host: "a",
            path: "/",
            query: None,
            method,
            headers: &HeaderMap::new(),
            tags: &tags,
        };
        table.lookup(&request).unwrap().common.name.to_string()
    };
    assert_eq!(look(&Method::POST, &[]), "any");
    assert_eq!(look(&Method::POST, &[("cohort", "stable")]), "any");
    assert_eq!(look(&Method::POST, &[("cohort", "canary")]), "canary");
    let all = [("x", "y"), ("tier", ""), ("cohort", "canary")];
    assert_eq!(look(&Method::POST, &all), "both");
    assert_eq!(look(&Method::GET, &all), "get");
}

#[test]
fn methods_and_conditions_tell_routes_of_one_path_apart() {
    let table = table(&[
        ("any", json!({})),
        ("get", json!({"methods": ["GET", "PURGE"]})),
        (
            "beta",
            json!({"headers": [{"name": "X-Beta", "exact": "1"}], "query": [{"name": "v"}]}),
        ),
        (
            "two",
            json!({"methods": ["GET"], "query": [{"name": "a b", "prefix": "é"}]}),
        ),
        (
            "not",
            json!({"methods": ["PUT"], "headers": [{"name": "x", "invert": true}]}),
        ),
    ]);
    check(
        &table,
        &[
            ("GET a/", "get"),
            ("HEAD a/", "any"),
            ("PURGE a/", "get"),
            ("purge a/", "any"),
            ("POST a/?v  x-beta: 0  x-beta: 1", "beta"),
            ("POST a/?w=v  x-beta: 1", "any"),
            ("GET a/?a+b=%C3%A9t%C3%A9", "two"),
            ("GET a/?a%20b=x&a%20b=%c3%a9", "two"),
            ("GET a/?a%20b=x", "get"),
            ("PUT a/", "not"),
            ("PUT a/  x: y", "any"),
        ],
    );
}

#[test]
fn names_decide_between_equals() {
    let header = |name: &str| json!({"headers": [{"name": name}]});
    let table = table(&[("b", header("x")), ("a", header("y")), ("a0", header("z"))]);
    check(
        &table,
        &[
            ("GET a/  x: 1  y: 1  z: 1", "a"),
            ("GET a/  x: 1  z: 1", "a0"),
            ("GET a/  x: 1", "b"),
        ],
    );
}

#[test]
fn a_host_with_routes_of_its_own_is_not_closed() {
    // The example of docs/routing.md.
    let orders = json!({"hosts": ["shop.example.com"], "path": {"prefix": "/orders"}});
    let mut write = orders.clone();
    write["methods"] = json!(["POST", "PUT"]);
    let table = table(&[
        ("orders", orders),
        ("orders-write", write),
        ("shop", json!({"hosts": ["*.example.com"]})),
        ("default", json!({})),
    ]);
    check(
        &table,
        &[
            ("POST shop.example.com/orders/7", "orders-write"),
            ("GET shop.example.com/orders", "orders"),
            ("GET shop.example.com/cart", "shop"),
            ("GET example.org/orders", "default"),
            ("GET example.com/orders", "default"),
        ],
    );
}

#[test]
fn a_removed_route_leaves_the_old_table_as_it_was() {
    let old = table(&[
        (
            "a",
            json!({"hosts": ["a", "*.a", "*"], "path": {"template": "/{x}"}}),
        ),
        ("b", json!({})),
    ]);
    let gone = old.get(&route(&json!({
        "name": "a",
        "match": {"hosts": ["a"], "path": {"template": "/{y}"}},
        "respond": {"status": 200},
    })));
    let new = old.update([Change::Remove(gone.unwrap())]);
    check(
        &old,
        &[("GET a/x", "a"), ("GET b.a/x", "a"), ("GET c/x", "a")],
    );
    check(
        &new,
        &[("GET a/x", "b"), ("GET b.a/x", "b"), ("GET c/x", "b")],
    );
    assert_eq!((old.len(), new.len()), (2, 1));
    let mut names = Vec::new();
    old.for_each(|route| names.push(route.common.name.as_str()));
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
}

/// The order as it is documented, read plainly: every route under every host, sorted.
fn in_order(routes: &[Arc<Route>]) -> Vec<(&Route, &HostPattern)> {
    let mut all: Vec<(&Route, &HostPattern)> = routes
        .iter()
        .flat_map(|route| route.hosts.iter().map(move |host| (&**route, host)))
        .collect();
    all.sort_by_cached_key(|(route, host)| {
        let host = match host {
            HostPattern::Exact(_) => (0, Reverse(0)),
            HostPattern::Wildcard(suffix) => (1, Reverse(suffix.len())),
            HostPattern::Any => (2, Reverse(0)),
        };
        let path = match &route.path {
            PathMatch::Exact(_) => (0, Vec::new(), Reverse(0)),
            PathMatch::Template(template) => {
                let kinds = template.segments().iter().map(|segment| match segment {
                    Segment::Literal(_) => 0,
                    Segment::Capture(_) => 1,
                    Segment::Rest(_) => 2,
                });
                (1, kinds.collect(), Reverse(0))
            }
            PathMatch::Prefix(prefix) => (2, Vec::new(), Reverse(prefix.len())),
            PathMatch::Regex(_) => (3, Vec::new(), Reverse(0)),
        };
        let conditions = route.headers.len() + route.query.len();
        (
            Reverse(route.priority),
            host,
            path,
            route.methods.is_empty(),
            Reverse(conditions),
            route.common.name.as_str().to_owned(),
        )
    });
    all
}

/// The first that matches.
fn first<'a>(ordered: &[(&'a Route, &HostPattern)], request: &RequestView<'_>) -> Option<&'a str> {
    let (route, _) = ordered.iter().find(|(route, host)| {
        let host = match host {
            HostPattern::Exact(host) => **host == *request.host,
            HostPattern::Wildcard(suffix) => {
                request.host.ends_with(&**suffix) && request.host != &**suffix
            }
            HostPattern::Any => true,
        };
        let path = match &route.path {
            PathMatch::Exact(path) => **path == *request.path,
            PathMatch::Template(template) => template.capture(request.path).is_some(),
            PathMatch::Prefix(prefix) => {
                format!("{}/", request.path).starts_with(&format!("{prefix}/"))
            }
            PathMatch::Regex(regex) => regex.is_match(request.path),
        };
        host && path
            && (route.methods.is_empty() || route.methods.contains(request.method))
            && route.headers.iter().all(|header| {
                let values = request.headers.get_all(&header.name);
                header
                    .value
                    .holds(header.invert, values.iter().map(HeaderValue::as_bytes))
            })
            && route.query.iter().all(|parameter| {
                let present = request
                    .query
                    .is_some_and(|query| query.split('&').any(|name| *name == *parameter.name));
                present != parameter.invert
            })
    })?;
    Some(route.common.name.as_str())
}

const HOSTS: [&str; 7] = ["a", "b.a", "c.b.a", "*.a", "*.b.a", "*", "[::1]"];
const SEGMENTS: [&str; 4] = ["a", "b", "", "ab"];

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&SEGMENTS[..]), 1..5)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn path_match() -> impl Strategy<Value = Value> {
    let template = prop::collection::vec(prop::sample::select(vec!["a", "b", "", "{}"]), 1..4);
    prop_oneof![
        path().prop_map(|path| json!({"exact": path})),
        path().prop_map(|path| json!({"prefix": path})),
        Just(json!({"prefix": "/"})),
        (template, any::<bool>()).prop_map(|(mut segments, rest)| {
            if rest {
                segments.push("{rest*}");
            }
            let named = segments
                .iter()
                .enumerate()
                .map(|(index, segment)| match *segment {
                    "{}" => format!("/{{c{index}}}"),
                    other => format!("/{other}"),
                });
            json!({"template": named.collect::<String>()})
        }),
        prop::sample::select(vec!["/a.*", "/.*b", "/[ab]*/.*"])
            .prop_map(|regex| json!({"regex": regex})),
    ]
}

/// All of a route but its name.
fn document() -> impl Strategy<Value = Value> {
    (
        prop_oneof![4 => Just(0), 1 => -1..2],
        prop::collection::btree_set(prop::sample::select(&HOSTS[..]), 0..3),
        path_match(),
        prop::sample::subsequence(vec!["GET", "POST"], 0..2),
        prop::sample::subsequence(vec![("x", false), ("y", false), ("y", true)], 0..2),
        prop::sample::subsequence(vec![("q", false), ("r", true)], 0..2),
    )
        .prop_map(|(priority, hosts, path, methods, headers, query)| {
            let conditions = |list: Vec<(&str, bool)>| {
                list.into_iter()
                    .map(|(name, invert)| json!({"name": name, "invert": invert}))
                    .collect::<Vec<_>>()
            };
            json!({
                "priority": priority,
                "match": {
                    "hosts": hosts,
                    "path": path,
                    "methods": methods,
                    "headers": conditions(headers),
                    "query": conditions(query),
                },
                "respond": {"status": 200},
            })
        })
}

fn requests() -> impl Strategy<Value = Vec<(String, String, String, bool, [bool; 2])>> {
    let host = prop::sample::select(vec!["a", "b.a", "c.b.a", "d.c.b.a", ".a", "z", "[::1]", ""]);
    let query = prop::sample::select(vec!["", "q", "r", "q&r"]);
    let one = (host, path(), query, any::<bool>(), any::<[bool; 2]>());
    let one = one.prop_map(|(host, path, query, get, fields)| {
        (host.to_owned(), path, query.to_owned(), get, fields)
    });
    prop::collection::vec(one, 1..40)
}

fn agrees(
    table: &RouteTable<Route>,
    routes: &[Arc<Route>],
    requests: &[(String, String, String, bool, [bool; 2])],
) -> Result<(), TestCaseError> {
    let ordered = in_order(routes);
    for (host, path, query, get, [x, y]) in requests {
        let mut headers = HeaderMap::new();
        for (name, there) in [("x", x), ("y", y)] {
            if *there {
                headers.insert(name, HeaderValue::from_static("1"));
            }
        }
        let request = RequestView {
            host,
            path,
            query: (!query.is_empty()).then_some(query),
            method: if *get { &Method::GET } else { &Method::POST },
            headers: &headers,
            tags: &[],
        };
        let found = table
            .lookup(&request)
            .map(|route| route.common.name.as_str());
        prop_assert_eq!(found, first(&ordered, &request), "{:?}", request);
    }
    prop_assert_eq!(table.len(), routes.len());
    let mut count = 0;
    table.for_each(|_| count += 1);
    prop_assert_eq!(count, routes.len());
    for route in routes {
        prop_assert!(
            table
                .get(route)
                .is_some_and(|entry| Arc::ptr_eq(entry, route))
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_table_agrees_with_a_plain_reading_of_the_order(
        documents in prop::collection::vec(document(), 0..60),
        changes in prop::collection::vec((0..80_usize, prop::option::of(document())), 0..60),
        requests in requests(),
    ) {
        let named = |index: usize, mut document: Value| {
            document["name"] = json!(format!("r{index}"));
            Arc::new(route(&document))
        };
        let mut routes: Vec<Arc<Route>> =
            documents.into_iter().enumerate().map(|(index, document)| named(index, document)).collect();
        let first = RouteTable::new(routes.iter().cloned());
        agrees(&first, &routes, &requests)?;

        // Each change replaces, adds or removes the route of one name.
        let before = routes.clone();
        let mut table = first.clone();
        for (index, document) in changes {
            let name = format!("r{index}");
            let old = routes
                .iter()
                .position(|route| route.common.name.as_str() == name)
                .map(|at| routes.remove(at));
            let new = document.map(|document| named(index, document));
            routes.extend(new.clone());
            let remove = old.as_deref().map(Change::Remove);
            table = table.update(remove.into_iter().chain(new.map(Change::Add)));
        }
        agrees(&table, &routes, &requests)?;
        agrees(&RouteTable::new(routes.iter().cloned()), &routes, &requests)?;
        agrees(&first, &before, &requests)?;

        // Taken apart, nothing is left behind.
        let empty = table.update(routes.iter().map(|route| Change::Remove(route)));
        prop_assert!(empty.is_bare());
        agrees(&empty, &[], &requests)?;
    }
}
