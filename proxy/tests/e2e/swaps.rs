//! Configuration of every kind that changes while clients are served: no request fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::support::{Authority, Proxy, Server, Upstream, documents, eventually};

/// How often each kind changes.
const ROUNDS: usize = 10;
/// How many requests every client has answered between two changes, at least.
const BETWEEN: usize = 5;

/// Clients that ask without a pause and keep their connections as long as they may. Any answer but
/// the expected ones ends a client with a panic.
struct Load {
    over: Arc<AtomicBool>,
    answered: Vec<Arc<AtomicUsize>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn new() -> Self {
        Self {
            over: Arc::default(),
            answered: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// One of a library, over HTTP/1.1 or HTTP/2 by what it was made with.
    fn add(&mut self, client: reqwest::Client, url: String) {
        let (over, answered) = (self.over.clone(), Arc::<AtomicUsize>::default());
        self.answered.push(answered.clone());
        self.clients.push(tokio::spawn(async move {
            while !over.load(Relaxed) {
                let answer = client.get(&url).send().await.expect("an answer");
                let status = answer.status();
                let text = answer.text().await.expect("a whole answer");
                assert!(
                    status == 200 && (text == "one" || text == "two"),
                    "{status} {text}"
                );
                answered.fetch_add(1, Relaxed);
            }
        }));
    }

    /// One of bytes, that goes from one address to the other when a connection is to end.
    fn add_moving(&mut self, places: [SocketAddr; 2]) {
        let (over, answered) = (self.over.clone(), Arc::<AtomicUsize>::default());
        self.answered.push(answered.clone());
        self.clients.push(tokio::spawn(async move {
            for at in places.into_iter().cycle() {
                // Where it is not served now it is at the other address.
                let Ok(mut stream) = TcpStream::connect(at).await else {
                    continue;
                };
                while request(&mut stream)
                    .await
                    .expect("every request is answered")
                {
                    answered.fetch_add(1, Relaxed);
                    if over.load(Relaxed) {
                        return;
                    }
                }
            }
        }));
    }

    /// Waits until every client had some more requests answered.
    async fn goes_on(&self) {
        let counts = || self.answered.iter().map(|count| count.load(Relaxed));
        let before: Vec<usize> = counts().collect();
        eventually("every client goes on", async || {
            assert!(self.clients.iter().all(|client| !client.is_finished()));
            let mut pairs = counts().zip(&before);
            pairs
                .all(|(now, before)| now >= before + BETWEEN)
                .then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.over.store(true, Relaxed);
        for client in self.clients {
            client.await.expect("no request failed");
        }
    }
}

/// One request on a connection; whether another may follow. Nothing if it was not answered.
async fn request(stream: &mut TcpStream) -> Option<bool> {
    let bytes = b"GET /moved HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(bytes).await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"moved") {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    answer
        .starts_with("HTTP/1.1 200 ")
        .then(|| !answer.contains("connection: close"))
}

/// The two states of everything that changes, a name for each change.
fn changes(one: SocketAddr, two: SocketAddr) -> Vec<(&'static str, [Vec<Value>; 2])> {
    let listener = |name: &str, http: Value| {
        let mut listener = documents::listener(name);
        listener["http"] = http;
        listener
    };
    let secure = |http: Value, tls: Value| {
        let mut listener = listener("secure", http);
        listener["tls"] = tls;
        listener
    };
    let plain = json!({"certificates": ["api"]});
    let mut limited = listener("web", json!({"limits": {"max_headers": 50}}));
    limited["limits"] = json!({"max_connections": 1000, "max_connections_per_source": 900});
    let tuned = |balanced: bool| {
        let mut cluster = documents::cluster("direct", one);
        if balanced {
            cluster["endpoints"] = json!([
                {"address": one.to_string(), "weight": 3}, {"address": two.to_string()},
            ]);
            cluster["pool"] = json!({"max_idle": 1});
            cluster["connect_timeout"] = json!("3s");
        }
        cluster
    };
    let members = |at: SocketAddr| json!({"kind": "Endpoints", "name": "apart", "endpoints": [{"address": at.to_string()}]});
    let mut rewritten = documents::forward("r", "/", "apart");
    rewritten["forward"]["timeout"] = json!("20s");
    rewritten["forward"]["clusters"] =
        json!([{"name": "apart", "weight": 1}, {"name": "direct", "weight": 2}]);
    vec![
        (
            "where a route leads",
            [
                vec![rewritten],
                vec![documents::forward("r", "/", "direct")],
            ],
        ),
        (
            "a route that answers itself",
            [
                vec![documents::respond("r", "/", "one")],
                vec![documents::forward("r", "/", "apart")],
            ],
        ),
        (
            "a cluster and its endpoints",
            [vec![tuned(true)], vec![tuned(false)]],
        ),
        (
            "endpoints apart from their cluster",
            [vec![members(two)], vec![members(one)]],
        ),
        (
            "bounds of a listener",
            [vec![limited], vec![documents::listener("web")]],
        ),
        (
            "times and protocol of a listener",
            [
                vec![
                    listener(
                        "web",
                        json!({"idle_timeout": "20s", "headers_with_underscores": "DROP"}),
                    ),
                    secure(json!({"idle_timeout": "20s"}), plain.clone()),
                ],
                vec![documents::listener("web"), secure(json!({}), plain.clone())],
            ],
        ),
        (
            "TLS of a listener",
            [
                vec![secure(
                    json!({}),
                    json!({"certificates": ["api"], "min_version": "TLS_1_3", "handshake_timeout": "5s"}),
                )],
                vec![secure(json!({}), plain)],
            ],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_every_kind_under_load_fail_no_request() {
    let ca = Authority::new("Test CA");
    let (one, two) = (Upstream::named("one").await, Upstream::named("two").await);
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let changes = changes(one.address, two.address);
    let mut all = vec![
        ca.issue(&["api.example.com"]).secret("api"),
        json!({"kind": "Cluster", "name": "apart"}),
        documents::respond("moved", "/moved", "moved"),
    ];
    // The second state of each is the one it begins with; of a resource the last counts.
    for (_, [_, begin]) in &changes {
        for document in begin {
            all.retain(|other| {
                (&other["kind"], &other["name"]) != (&document["kind"], &document["name"])
            });
            all.push(document.clone());
        }
    }
    let mut moving = documents::listener("moving");
    all.push(moving.clone());
    rest.commit_live(&all, 1).await;
    let (web, secure) = (proxy.listener("web").await, proxy.listener("secure").await);
    // A listener goes to and fro between two addresses.
    let free = std::net::TcpListener::bind("127.0.0.3:0").expect("a port");
    let places = [
        proxy.listener("moving").await,
        free.local_addr().expect("an address"),
    ];
    drop(free);

    let mut load = Load::new();
    for version2 in [false, true] {
        let builder = reqwest::Client::builder().timeout(Duration::from_secs(20));
        let plain = if version2 {
            builder.http2_prior_knowledge()
        } else {
            builder
        };
        load.add(plain.build().expect("a client"), format!("http://{web}/"));
        let over_tls = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .tls_backend_preconfigured(ca.client_config_speaking(version2))
            .resolve("api.example.com", secure);
        let url = format!("https://api.example.com:{}/", secure.port());
        load.add(over_tls.build().expect("a client"), url);
    }
    load.add_moving(places);
    load.add_moving(places);
    load.goes_on().await;
    for round in 0..ROUNDS {
        for (what, states) in &changes {
            for state in states {
                rest.commit_live(state, 1).await;
            }
            assert!(
                load.clients.iter().all(|client| !client.is_finished()),
                "{what}"
            );
        }
        moving["address"] = json!(places[(round + 1) % 2].to_string());
        rest.commit_live(std::slice::from_ref(&moving), 1).await;
        load.goes_on().await;
    }
    load.end().await;
    let (_, metrics) = proxy.page("/metrics").await;
    let failed: Vec<&str> = metrics
        .lines()
        .filter(|line| line.contains("_responses_total{") && line.contains("class=\"5xx\""))
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    assert_eq!(failed, [] as [&str; 0]);
}
