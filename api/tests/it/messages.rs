//! Random messages: every field and every choice of each kind.

mod policies;

use std::collections::BTreeMap;

use fleetway_api::proto::{Duration, v1};
use proptest::{collection::vec, option, prelude::*};

/// Texts that a careless writer or reader changes, and any others.
fn text() -> impl Strategy<Value = String> {
    let tricky = proptest::sample::select(vec![
        "",
        " ",
        "~",
        "null",
        "Null",
        "true",
        "yes",
        "No",
        "on",
        "y",
        "0",
        "1",
        "007",
        "0x1f",
        "0o17",
        "1e3",
        "-1",
        "+1",
        ".5",
        "1.",
        ".inf",
        "-.INF",
        ".NaN",
        "1_000",
        "12:30:45",
        "2026-01-01",
        "- a",
        "-",
        "--",
        "---",
        "...",
        "? a",
        ": a",
        "a: b",
        "a:",
        "# a",
        "a #b",
        "#",
        "[a]",
        "{a}",
        "[",
        "{",
        "]",
        "}",
        ",",
        "&a",
        "*a",
        "!a",
        "!!str a",
        "|",
        ">",
        "|-",
        "'",
        "\"",
        "%a",
        "@a",
        "`a`",
        "<<",
        "=",
        "\\",
        "\\n",
        "\n",
        "a\n",
        "a\nb",
        "a\n\nb\n\n",
        "\na",
        " a",
        "a ",
        "\ta",
        "a\t",
        "\r",
        "\r\n",
        "a\rb",
        "  a\n b",
        "\u{0}",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{2028}",
        "\u{feff}",
        "\u{feff}a",
        "ä",
        "日本",
        "🙂",
        "\u{10ffff}",
        "\u{d7ff}",
        "\u{fffe}",
    ])
    .prop_map(str::to_owned);
    prop_oneof![3 => tricky, 2 => any::<String>(), 1 => "[a-z /{}*]{0,90}"]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..3)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(text(), text(), 0..3)
}

/// A name a document is taken with.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "null", "true", "no", "1", "1e3", "0x1f", "1.5", "a-b_c.d"
        ])
        .prop_map(str::to_owned),
        "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?",
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    let nanos = prop_oneof![Just(0), Just(1), Just(999_999_999), 0..1_000_000_000_i32];
    (0..=315_359_999_i64, nanos).prop_map(|(seconds, nanos)| Duration { seconds, nanos })
}

fn endpoints() -> impl Strategy<Value = Vec<v1::Endpoint>> {
    let endpoint = (text(), option::of(any::<u32>()))
        .prop_map(|(address, weight)| v1::Endpoint { address, weight });
    vec(endpoint, 0..3)
}

fn tls_version() -> impl Strategy<Value = i32> {
    (0..=2).prop_map(|version| v1::TlsVersion::try_from(version).unwrap_or_default().into())
}

fn subject_alt_names() -> impl Strategy<Value = Vec<v1::SubjectAltName>> {
    use v1::subject_alt_name::Match;
    let one = (text(), 0..4).prop_map(|(text, which)| match which {
        0 => Match::Dns(text),
        1 => Match::DnsSuffix(text),
        2 => Match::Uri(text),
        _ => Match::UriPrefix(text),
    });
    let name = option::of(one).prop_map(|one| v1::SubjectAltName { r#match: one });
    vec(name, 0..3)
}

fn upstream_tls() -> impl Strategy<Value = v1::UpstreamTls> {
    (
        option::of(text()),
        option::of(text()),
        subject_alt_names(),
        option::of(text()),
        tls_version(),
        any::<bool>(),
    )
        .prop_map(
            |(ca, server_name, subject_alt_names, certificate, min_version, skip)| {
                v1::UpstreamTls {
                    ca,
                    server_name,
                    subject_alt_names,
                    certificate,
                    min_version,
                    insecure_skip_verify: skip,
                }
            },
        )
}

fn cluster() -> impl Strategy<Value = v1::Cluster> {
    let pool =
        (option::of(duration()), option::of(any::<u32>())).prop_map(|(idle_timeout, max_idle)| {
            v1::ConnectionPool {
                idle_timeout,
                max_idle,
            }
        });
    (
        name(),
        texts(),
        labels(),
        endpoints(),
        option::of(upstream_tls()),
        option::of(duration()),
        option::of(pool),
        0..=2_i32,
        0..=2_i32,
    )
        .prop_map(
            |(
                name,
                fleets,
                labels,
                endpoints,
                tls,
                connect_timeout,
                pool,
                proxy_protocol,
                protocol,
            )| {
                v1::Cluster {
                    name,
                    fleets,
                    labels,
                    endpoints,
                    tls,
                    connect_timeout,
                    pool,
                    proxy_protocol,
                    protocol,
                }
            },
        )
}

fn listener_tls() -> impl Strategy<Value = v1::ListenerTls> {
    let clients =
        (text(), 0..=2_i32, subject_alt_names()).prop_map(|(ca, mode, subject_alt_names)| {
            v1::ClientCertificates {
                ca,
                mode,
                subject_alt_names,
            }
        });
    (
        texts(),
        tls_version(),
        tls_version(),
        texts(),
        option::of(clients),
        option::of(duration()),
    )
        .prop_map(
            |(certificates, min, max, alpn, clients, handshake_timeout)| v1::ListenerTls {
                certificates,
                min_version: min,
                max_version: max,
                alpn,
                client_certificates: clients,
                handshake_timeout,
            },
        )
}

fn listener() -> impl Strategy<Value = v1::Listener> {
    let paths = (0..4, any::<bool>()).prop_map(|(escaped_slashes, keep_repeated_slashes)| {
        v1::PathNormalization {
            escaped_slashes,
            keep_repeated_slashes,
        }
    });
    let limits = (any::<[Option<u32>; 5]>(), option::of(duration())).prop_map(
        |([bytes, headers, uri, requests, streams], header_timeout)| v1::HttpLimits {
            max_header_bytes: bytes,
            max_headers: headers,
            max_uri_bytes: uri,
            header_timeout,
            max_requests_per_connection: requests,
            max_concurrent_streams: streams,
        },
    );
    let http = (
        option::of(duration()),
        option::of(duration()),
        option::of(paths),
        0..4,
        any::<u32>(),
        option::of(limits),
        policies::attachments(),
        header_rules(),
    )
        .prop_map(
            |(
                idle_timeout,
                drain_timeout,
                paths,
                underscores,
                trusted_hops,
                limits,
                policies,
                rules,
            )| {
                let [request_headers, response_headers] = rules;
                v1::listener::Protocol::Http(v1::HttpListener {
                    idle_timeout,
                    drain_timeout,
                    path_normalization: paths,
                    headers_with_underscores: underscores,
                    trusted_hops,
                    limits,
                    policies,
                    request_headers,
                    response_headers,
                })
            },
        );
    let limits = any::<[Option<u32>; 2]>().prop_map(|[all, source]| v1::ConnectionLimits {
        max_connections: all,
        max_connections_per_source: source,
    });
    let tcp = (clusters(), option::of(duration()), option::of(any::<u32>())).prop_map(
        |(clusters, max_duration, max_connect_attempts)| {
            v1::listener::Protocol::Tcp(v1::TcpListener {
                clusters,
                idle_timeout: max_duration,
                max_duration,
                drain_timeout: max_duration,
                max_connect_attempts,
            })
        },
    );
    let proxy_protocol =
        (0..=2_i32, texts(), option::of(duration())).prop_map(|(mode, trusted, timeout)| {
            v1::ListenerProxyProtocol {
                mode,
                trusted,
                timeout,
            }
        });
    (
        name(),
        texts(),
        labels(),
        text(),
        option::of(proxy_protocol),
        option::of(listener_tls()),
        option::of(limits),
        option::of(text().prop_map(|path| v1::AccessLog { path })),
        option::of(prop_oneof![http, tcp]),
    )
        .prop_map(
            |(name, fleets, labels, address, proxy_protocol, tls, limits, access_log, protocol)| {
                v1::Listener {
                    name,
                    fleets,
                    labels,
                    address,
                    proxy_protocol,
                    tls,
                    limits,
                    access_log,
                    protocol,
                }
            },
        )
}

fn path_match() -> impl Strategy<Value = v1::PathMatch> {
    use v1::path_match::Kind;
    let kind = (text(), 0..4).prop_map(|(text, which)| match which {
        0 => Kind::Exact(text),
        1 => Kind::Prefix(text),
        2 => Kind::Template(text),
        _ => Kind::Regex(text),
    });
    option::of(kind).prop_map(|kind| v1::PathMatch { kind })
}

fn header_match() -> impl Strategy<Value = v1::HeaderMatch> {
    use v1::header_match::Value;
    let value = (text(), any::<bool>(), 0..6).prop_map(|(text, present, which)| match which {
        0 => Value::Exact(text),
        1 => Value::Prefix(text),
        2 => Value::Suffix(text),
        3 => Value::Contains(text),
        4 => Value::Regex(text),
        _ => Value::Present(present),
    });
    (text(), any::<bool>(), option::of(value)).prop_map(|(name, invert, value)| v1::HeaderMatch {
        name,
        invert,
        value,
    })
}

fn query_match() -> impl Strategy<Value = v1::QueryMatch> {
    use v1::query_match::Value;
    let value = (text(), any::<bool>(), 0..6).prop_map(|(text, present, which)| match which {
        0 => Value::Exact(text),
        1 => Value::Prefix(text),
        2 => Value::Suffix(text),
        3 => Value::Contains(text),
        4 => Value::Regex(text),
        _ => Value::Present(present),
    });
    (text(), any::<bool>(), option::of(value)).prop_map(|(name, invert, value)| v1::QueryMatch {
        name,
        invert,
        value,
    })
}

fn route_match() -> impl Strategy<Value = v1::RouteMatch> {
    (
        texts(),
        option::of(path_match()),
        texts(),
        vec(header_match(), 0..3),
        vec(query_match(), 0..3),
        policies::tags(),
    )
        .prop_map(
            |(hosts, path, methods, headers, query, tags)| v1::RouteMatch {
                hosts,
                path,
                methods,
                headers,
                query,
                tags,
            },
        )
}

fn clusters() -> impl Strategy<Value = Vec<v1::WeightedCluster>> {
    let cluster = (text(), option::of(any::<u32>()))
        .prop_map(|(name, weight)| v1::WeightedCluster { name, weight });
    vec(cluster, 0..3)
}

fn forward() -> impl Strategy<Value = v1::Forward> {
    use v1::rewrite::Path;
    let path = (text(), any::<bool>()).prop_map(|(text, prefix)| {
        if prefix {
            Path::Prefix(text)
        } else {
            Path::Template(text)
        }
    });
    let rewrite = (option::of(path), text()).prop_map(|(path, host)| v1::Rewrite { path, host });
    (
        clusters(),
        option::of(duration()),
        option::of(duration()),
        option::of(rewrite),
        option::of(any::<u32>()),
        option::of(texts().prop_map(|protocols| v1::Upgrades { protocols })),
        option::of(duration()),
        any::<bool>(),
    )
        .prop_map(
            |(
                clusters,
                timeout,
                idle_timeout,
                rewrite,
                most,
                upgrades,
                tunnel_idle_timeout,
                connect,
            )| {
                v1::Forward {
                    clusters,
                    timeout,
                    idle_timeout,
                    rewrite,
                    max_request_body_bytes: most,
                    upgrades,
                    tunnel_idle_timeout,
                    connect,
                }
            },
        )
}

fn redirect() -> impl Strategy<Value = v1::Redirect> {
    use v1::redirect::PathRewrite;
    let path = (text(), any::<bool>()).prop_map(|(text, prefix)| {
        if prefix {
            PathRewrite::Prefix(text)
        } else {
            PathRewrite::Path(text)
        }
    });
    (
        any::<u32>(),
        text(),
        text(),
        any::<u32>(),
        option::of(path),
        any::<bool>(),
    )
        .prop_map(
            |(status, scheme, host, port, path_rewrite, strip_query)| v1::Redirect {
                status,
                scheme,
                host,
                port,
                path_rewrite,
                strip_query,
            },
        )
}

fn fields() -> impl Strategy<Value = Vec<v1::Header>> {
    let header = (text(), text()).prop_map(|(name, value)| v1::Header { name, value });
    vec(header, 0..3)
}

/// Rules for requests and responses.
fn header_rules() -> impl Strategy<Value = [Option<v1::HeaderRules>; 2]> {
    let rules = (fields(), fields(), texts()).prop_map(|(set, add, remove)| v1::HeaderRules {
        set,
        add,
        remove,
    });
    let rules = option::of(rules).boxed();
    [rules.clone(), rules]
}

fn respond() -> impl Strategy<Value = v1::DirectResponse> {
    (any::<u32>(), text(), fields()).prop_map(|(status, body, headers)| v1::DirectResponse {
        status,
        body,
        headers,
    })
}

fn route() -> impl Strategy<Value = v1::Route> {
    use v1::route::Action;
    let action = prop_oneof![
        forward().prop_map(Action::Forward),
        redirect().prop_map(Action::Redirect),
        respond().prop_map(Action::Respond),
    ];
    (
        name(),
        texts(),
        labels(),
        texts(),
        any::<i32>(),
        option::of(route_match()),
        policies::attachments(),
        option::of(action),
        header_rules(),
    )
        .prop_map(
            |(name, fleets, labels, listeners, priority, r#match, policies, action, rules)| {
                let [request_headers, response_headers] = rules;
                v1::Route {
                    name,
                    fleets,
                    labels,
                    listeners,
                    priority,
                    r#match,
                    policies,
                    action,
                    request_headers,
                    response_headers,
                }
            },
        )
}

/// A message of any kind. Its shape is right; what it says mostly is not.
pub(crate) fn message() -> impl Strategy<Value = v1::Resource> {
    use v1::resource::Kind;
    let endpoints =
        (name(), texts(), labels(), endpoints()).prop_map(|(name, fleets, labels, endpoints)| {
            v1::Endpoints {
                name,
                fleets,
                labels,
                endpoints,
            }
        });
    // Without keys, which no document shows.
    let secret = (name(), texts(), labels(), text(), 0..3).prop_map(
        |(name, fleets, labels, text, which)| v1::Secret {
            name,
            fleets,
            labels,
            kind: match which {
                0 => None,
                1 => Some(v1::secret::Kind::Ca(v1::CaBundle {
                    crls: (text.len() % 2 == 0).then(|| text.clone()),
                    only_verify_leaf_crl: text.len() % 3 == 0,
                    certificates: text,
                })),
                _ => Some(v1::secret::Kind::Certificate(v1::Certificate {
                    chain: text.clone(),
                    private_key: String::new(),
                    ocsp_response: Some(text),
                })),
            },
        },
    );
    prop_oneof![
        // Boxed, as they are large for a stack.
        1 => secret.prop_map(Kind::Secret).boxed(),
        2 => cluster().prop_map(Kind::Cluster).boxed(),
        1 => policies::component().prop_map(Kind::Component).boxed(),
        1 => policies::policy().prop_map(Kind::Policy).boxed(),
        1 => endpoints.prop_map(Kind::Endpoints).boxed(),
        1 => listener().prop_map(Kind::Listener).boxed(),
        4 => route().prop_map(Kind::Route).boxed(),
    ]
    .prop_map(|kind| v1::Resource { kind: Some(kind) })
}
