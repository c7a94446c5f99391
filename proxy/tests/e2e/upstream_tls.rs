//! TLS towards upstreams, tried with nginx.

use std::net::SocketAddr;

use rcgen::{DnType, SanType, date_time_ymd};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{
    Authority, Nginx, Proxy, Rest, Server, Surroundings, Upstream, ask, documents, eventually,
    write_private,
};

/// A cluster called `name` over TLS, and the route of everything under `/name/` to it.
fn upstream(name: &str, endpoint: SocketAddr, tls: Value) -> [Value; 2] {
    let mut cluster = documents::cluster(name, endpoint);
    cluster["tls"] = tls;
    [
        cluster,
        documents::forward(name, &format!("/{name}/"), name),
    ]
}

/// A proxy that serves these resources besides a listener, and a connection to it: one and the same
/// worker has all its requests.
struct Serving {
    rest: Rest,
    proxy: Proxy,
    stream: TcpStream,
    _server: Server,
}

impl Serving {
    async fn new(resources: &[Value]) -> Self {
        let server = Server::start().await;
        let proxy = Proxy::of(&server, "p1", "blue").await;
        let rest = server.client();
        let all = [&[documents::listener("web")], resources].concat();
        rest.commit_live(&all, 1).await;
        let web = proxy.listener("web").await;
        Self {
            rest,
            proxy,
            stream: TcpStream::connect(web).await.expect("a connection"),
            _server: server,
        }
    }

    async fn get(&mut self, cluster: &str) -> (u16, String) {
        let request = format!("GET /{cluster}/ HTTP/1.1\r\nhost: x\r\n\r\n");
        ask(&mut self.stream, &request).await
    }

    /// The sum of the metric's samples whose labels have `label`.
    async fn counted(&self, metric: &str, label: &str) -> u64 {
        let (_, metrics) = self.proxy.page("/metrics").await;
        let samples = metrics
            .lines()
            .filter(|line| line.starts_with(&format!("fleetway_cluster_{metric}{{")))
            .filter(|line| line.contains(label));
        samples
            .map(|line| line.rsplit(' ').next().expect("a value"))
            .map(|value| value.parse::<u64>().expect("a number"))
            .sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_asked_for_by_name_verified_and_kept() {
    let ca = Authority::new("Test CA");
    let nginx = Nginx::showing(&ca.issue(&["users.internal"]), "").await;
    let tls = json!({"ca": "authority", "server_name": "users.internal"});
    let resources = [
        &[ca.secret("authority")],
        &upstream("c", nginx.address, tls)[..],
    ]
    .concat();
    let mut serving = Serving::new(&resources).await;
    for _ in 0..3 {
        let expected = (200, "sni=users.internal client= .".to_owned());
        assert_eq!(serving.get("c").await, expected);
    }
    assert_eq!(serving.counted("connections_total", "c").await, 1);
    assert_eq!(serving.counted("tls_handshakes_total", "1.3").await, 1);
    assert_eq!(serving.counted("tls_handshakes_total", "1.2").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_believed_gets_no_request() {
    let (ca, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
    let certificate = ca.issue_with(&["users.internal"], |params| {
        let uri = "spiffe://example.com/ns/shop/sa/users";
        let uri = SanType::URI(uri.try_into().expect("a URI"));
        params.subject_alt_names.push(uri);
    });
    let expired = ca.issue_with(&["users.internal"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let named = Nginx::showing(&certificate, "").await;
    let old = Nginx::showing(&certificate, "ssl_protocols TLSv1.2;").await;
    let late = Nginx::showing(&expired, "").await;
    let numbered = Nginx::showing(&ca.issue(&["127.0.0.1"]), "").await;
    let plain = Upstream::named("plain").await;

    let good = json!({"ca": "authority", "server_name": "users.internal"});
    let and = |field: &str, value: Value| {
        let mut tls = good.clone();
        tls[field] = value;
        tls
    };
    let names = |name: Value| json!({"ca": "authority", "subject_alt_names": [name]});
    let refused = [
        (
            "authority",
            named.address,
            and("ca", json!("other")),
            "unknown_authority",
        ),
        (
            "name",
            named.address,
            and("server_name", json!("carts.internal")),
            "wrong_name",
        ),
        (
            "no-name",
            named.address,
            json!({"ca": "authority"}),
            "wrong_name",
        ),
        ("late", late.address, good.clone(), "expired"),
        (
            "uri",
            named.address,
            names(json!({"uri": "spiffe://example.com/ns/bank/sa/users"})),
            "wrong_name",
        ),
        (
            "suffix",
            named.address,
            and("subject_alt_names", json!([{"dns_suffix": ".example.com"}])),
            "wrong_name",
        ),
        (
            "version",
            old.address,
            and("min_version", json!("TLS_1_3")),
            "refused",
        ),
        ("plain", plain.address, good.clone(), "not_tls"),
    ];
    let taken = [
        ("good", named.address, good.clone()),
        ("tls12", old.address, good.clone()),
        ("address", numbered.address, json!({"ca": "authority"})),
        (
            "spiffe",
            named.address,
            names(json!({"uri_prefix": "spiffe://example.com/ns/shop/"})),
        ),
        (
            "one-of",
            named.address,
            and(
                "subject_alt_names",
                json!([{"dns": "x"}, {"dns_suffix": ".internal"}]),
            ),
        ),
        ("any", late.address, json!({"insecure_skip_verify": true})),
    ];
    let mut resources = vec![ca.secret("authority"), other.secret("other")];
    for (name, at, tls, _) in &refused {
        resources.extend(upstream(name, *at, tls.clone()));
    }
    for (name, at, tls) in &taken {
        resources.extend(upstream(name, *at, tls.clone()));
    }
    let mut serving = Serving::new(&resources).await;
    for (name, _, _, reason) in refused {
        let answer = serving.get(name).await;
        assert_eq!(answer, (503, "upstream TLS failure\n".to_owned()), "{name}");
        let label = format!("cluster=\"{name}\",reason=\"{reason}\"");
        let (_, metrics) = serving.proxy.page("/metrics").await;
        assert!(
            metrics.contains(&format!("{label}}} 1")),
            "{name}: {metrics}"
        );
    }
    for (name, ..) in taken {
        let (status, text) = serving.get(name).await;
        assert_eq!(status, 200, "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_answer_the_handshake_is_given_up_in_time() {
    let silent = Upstream::stalling(b"").await;
    let mut resources = upstream("c", silent.address, json!({"insecure_skip_verify": true}));
    resources[0]["connect_timeout"] = json!("100ms");
    let mut serving = Serving::new(&resources).await;
    let expected = (504, "upstream connect timeout\n".to_owned());
    assert_eq!(serving.get("c").await, expected);
    assert_eq!(serving.counted("tls_failures_total", "timeout").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_is_what_the_next_request_is_trusted_by() {
    let (ca, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
    let nginx = Nginx::asking(&ca.issue(&["users.internal"]), &ca).await;
    let client = |name: &str| {
        ca.issue_with(&[name], |params| {
            params
                .distinguished_name
                .push(DnType::OrganizationName, "edge");
        })
        .secret("client")
    };
    let tls = json!({"ca": "authority", "server_name": "users.internal", "certificate": "client"});
    let resources = [
        &[ca.secret("authority"), client("one")],
        &upstream("c", nginx.address, tls)[..],
    ]
    .concat();
    let mut serving = Serving::new(&resources).await;
    let (status, text) = serving.get("c").await;
    assert!(status == 200 && text.contains("CN=one"), "{text}");

    // The one that is kept was made as `one`, its session too.
    serving.rest.commit_live(&[client("two")], 1).await;
    let (status, text) = serving.get("c").await;
    assert!(
        status == 200 && text.contains("CN=two") && text.ends_with('.'),
        "{text}"
    );

    serving
        .rest
        .commit_live(&[other.secret("authority")], 1)
        .await;
    assert_eq!(serving.get("c").await.0, 503);
    serving.rest.commit_live(&[ca.secret("authority")], 1).await;
    assert_eq!(serving.get("c").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_resumed() {
    let ca = Authority::new("Test CA");
    let certificate = ca.issue(&["users.internal"]);
    let new = Nginx::showing(&certificate, "").await;
    let old = Nginx::showing(&certificate, "ssl_protocols TLSv1.2;").await;
    let tls = json!({"ca": "authority", "server_name": "users.internal"});
    let mut resources = vec![ca.secret("authority")];
    for (name, at) in [("new", new.address), ("old", old.address)] {
        let [mut cluster, route] = upstream(name, at, tls.clone());
        cluster["pool"] = json!({"max_idle": 0});
        resources.extend([cluster, route]);
    }
    let mut serving = Serving::new(&resources).await;
    for (number, mark) in [".", "r", "r"].into_iter().enumerate() {
        for name in ["new", "old"] {
            let (_, text) = serving.get(name).await;
            assert!(text.ends_with(mark), "{name} {number}: {text}");
        }
    }
    assert_eq!(serving.counted("tls_resumed_total", "").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_authority_of_its_own_a_cluster_believes_those_of_the_machine_and_no_other() {
    let (known, unknown) = (Authority::new("Known CA"), Authority::new("Unknown CA"));
    let good = Nginx::showing(&known.issue(&["users.internal"]), "").await;
    let bad = Nginx::showing(&unknown.issue(&["users.internal"]), "").await;
    let tls = |name: &str| json!({"server_name": name});
    let mut all = vec![documents::listener("web")];
    all.extend(upstream("good", good.address, tls("users.internal")));
    all.extend(upstream("name", good.address, tls("carts.internal")));
    all.extend(upstream("bad", bad.address, tls("users.internal")));
    let folder = tempfile::tempdir().expect("a folder");
    let all = serde_json::to_string(&all).expect("JSON");
    write_private(&folder.path().join("all.json"), &all);
    let resources = folder.path().to_str().expect("a plain path");
    let nothing = tempfile::tempdir().expect("a folder");
    let nothing = nothing.path().to_str().expect("a plain path");
    let machine = |file: &str| Surroundings {
        variables: vec![
            ("SSL_CERT_FILE", file.to_owned()),
            ("SSL_CERT_DIR", nothing.to_owned()),
        ],
        log: None,
    };
    let file = known.file();
    let with_roots = machine(file.to_str().expect("a plain path"));
    let flags = ["--resources", resources, "--node-id", "local"];
    let proxy = Proxy::start_in(with_roots, &flags).await;
    let web = proxy.listener("web").await;
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    for (name, expected) in [("good", 200), ("name", 503), ("bad", 503), ("good", 200)] {
        let request = format!("GET /{name}/ HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(ask(&mut stream, &request).await.0, expected, "{name}");
    }
    let (_, metrics) = proxy.page("/metrics").await;
    for (cluster, reason) in [("bad", "unknown_authority"), ("name", "wrong_name")] {
        let sample = format!(
            "fleetway_cluster_tls_failures_total{{cluster=\"{cluster}\",reason=\"{reason}\"}} 1"
        );
        assert!(metrics.contains(&sample), "{sample}");
    }

    // Without any the configuration is refused, with the reason, and what is in force stays.
    let empty = folder.path().join("none.txt");
    write_private(&empty, "");
    let other = tempfile::tempdir().expect("a folder");
    let file = other.path().join("all.json");
    let listener = documents::listener("web").to_string();
    write_private(&file, &listener);
    let without = machine(empty.to_str().expect("a plain path"));
    let resources = other.path().to_str().expect("a plain path");
    let flags = ["--resources", resources, "--node-id", "local"];
    let proxy = Proxy::start_in(without, &flags).await;
    proxy.listener("web").await;
    write_private(&file, &all);
    let told = "clusters/bad: tls.ca: this machine has no certificate authorities of its own";
    eventually(told, async || {
        let (_, page) = proxy.page("/config_dump").await;
        page.contains(told).then_some(())
    })
    .await;
}
