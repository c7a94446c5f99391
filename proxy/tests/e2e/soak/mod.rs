//! Hours in short: every kind of traffic at once while the configuration changes, certificates are
//! rotated and an upstream fails in every way it can. Memory and descriptors stay as they are, and
//! no request fails that no fault explains. `make soak` runs it; it writes a report.

mod changes;
mod flaky;
mod record;
mod traffic;

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use self::{
    flaky::{Fault, Flaky},
    record::{Record, Sample, Watched},
    traffic::Traffic,
};
use crate::support::{Authority, Proxy, Server, Upstream, documents, eventually};

/// How many descriptors the proxy may have more than before once all clients are gone: connections
/// that are kept to upstreams.
const KEPT: usize = 40;
/// The shortest that tells growth from the filling of caches.
const LEAST: u64 = 4;
/// How long it takes unless `SOAK_MINUTES` says otherwise.
const MINUTES: u64 = 20;

fn duration() -> Duration {
    let minutes = std::env::var("SOAK_MINUTES").ok();
    let minutes = minutes.map_or(MINUTES, |text| {
        text.parse().expect("SOAK_MINUTES: a number")
    });
    Duration::from_secs(60 * minutes.max(LEAST))
}

fn resources(ca: &Authority, ups: &Ups) -> Vec<Value> {
    let mut secure = documents::listener("secure");
    secure["tls"] = json!({"certificates": ["api"]});
    let mut flaky = documents::forward("flaky", "/flaky", "flaky");
    flaky["forward"]["timeout"] = "1s".into();
    vec![
        ca.issue(&["api.example.com"]).secret("api"),
        documents::listener("web"),
        secure,
        json!({"kind": "Listener", "name": "bytes", "address": "127.0.0.1:0",
            "tcp": {"clusters": [{"name": "bytes"}]}}),
        documents::cluster("one", ups.one.address),
        documents::cluster("two", ups.two.address),
        documents::cluster("chat", ups.chat.address),
        documents::cluster("bytes", ups.bytes.address),
        documents::cluster("flaky", ups.flaky.address),
        documents::forward("steady", "/", "one"),
        documents::forward("chat", "/chat", "chat"),
        flaky,
    ]
}

/// What the proxy forwards to.
struct Ups {
    one: Upstream,
    two: Upstream,
    chat: Upstream,
    bytes: Upstream,
    flaky: Flaky,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes twenty minutes: make soak"]
async fn nothing_grows_and_nothing_fails_without_a_cause() {
    let ca = Authority::new("Test CA");
    let ups = Ups {
        one: Upstream::measuring().await,
        two: Upstream::measuring().await,
        chat: Upstream::switching().await,
        bytes: Upstream::hearing_out("").await,
        flaky: Flaky::start().await,
    };
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    rest.commit_live(&resources(&ca, &ups), 1).await;
    let places = traffic::Places {
        web: proxy.listener("web").await,
        secure: proxy.listener("secure").await,
        bytes: proxy.listener("bytes").await,
    };
    let watched = [
        Watched::new("proxy", proxy.pid()),
        Watched::new("server", server.pid()),
    ];
    let idle = watched[0].sample(Duration::ZERO).descriptors;

    let record = Record::default();
    let traffic = Traffic::start(&places, &ca, &record);
    let (begun, whole) = (Instant::now(), duration());
    let mut samples: [Vec<Sample>; 2] = Default::default();
    let watching = async {
        let mut faults = [Fault::Gone, Fault::Stalled, Fault::Resetting]
            .into_iter()
            .cycle();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while begun.elapsed() < whole {
            let at = ticks.tick().await.duration_since(begun);
            for (watched, samples) in watched.iter().zip(&mut samples) {
                samples.push(watched.sample(at));
            }
            // Ten seconds in good order, then two of a fault.
            match at.as_secs() % 12 {
                10 => {
                    let fault = faults.next().unwrap_or(Fault::Gone);
                    ups.flaky.fail(fault, &record);
                }
                0 => ups.flaky.mend(&record).await,
                _ => {}
            }
        }
        ups.flaky.mend(&record).await;
    };
    tokio::select! {
        () = watching => {}
        () = changes::keep_changing(rest, ca) => panic!("it goes on for as long as it is let"),
    }
    let revision = proxy.revision().await;
    traffic.end().await;
    let left = eventually("the connections of clients are gone", async || {
        let now = watched[0].sample(whole).descriptors;
        (now <= idle + KEPT).then_some(now)
    })
    .await;

    let (_, metrics) = proxy.page("/metrics").await;
    let report = record.report(&watched, &samples, revision, (idle, left), &metrics);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak.md");
    fs::write(&file, &report.text).expect("a report");
    // A test says nothing unless it fails; who runs this one wants to read.
    eprintln!("{}\n{}", report.text, file.display());
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
}
