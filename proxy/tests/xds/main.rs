//! The proxy's side of a discovery stream, against a server on loopback that says what each test
//! has it say.

#![expect(
    clippy::unwrap_used,
    reason = "all of this crate is tests, its helpers too"
)]

mod server;

use std::{path::Path, sync::Arc};

use fleetway_api::{FieldError, Kind, proto::type_url};
use fleetway_proxy::{
    snapshot::{Apply, Origin, Update},
    xds::{self, Connection, LAST_GOOD_FILE, Node, Source, StartError, Status},
};
use server::{Server, Stream, barrier, cluster, listener, response, route};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

type Answer = oneshot::Sender<Result<(), Vec<FieldError>>>;

/// Hands each update to the test and waits for what it answers.
struct Workers(mpsc::Sender<(Update, Answer)>);

impl Apply for Workers {
    async fn apply(&self, update: Update) -> Result<(), Vec<FieldError>> {
        let (answer, answered) = oneshot::channel();
        self.0.send((update, answer)).await.unwrap();
        answered.await.unwrap()
    }
}

struct Proxy {
    updates: mpsc::Receiver<(Update, Answer)>,
    status: Status,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
}

impl Proxy {
    fn start(servers: &str, state: &Path) -> Self {
        let (sender, updates) = mpsc::channel(1);
        let status = Status::new();
        let shutdown = CancellationToken::new();
        let source = Source::Servers {
            servers: servers.parse().unwrap(),
            node: Node {
                id: "proxy-1".into(),
                fleet: "edge".into(),
            },
            state: state.to_owned(),
        };
        let task = tokio::spawn(xds::run(
            source,
            Workers(sender),
            status.clone(),
            shutdown.clone(),
        ));
        Self {
            updates,
            status,
            shutdown,
            task,
        }
    }

    /// The next update, put in force.
    async fn applies(&mut self) -> Update {
        let (update, answer) = self.updates.recv().await.unwrap();
        answer.send(Ok(())).unwrap();
        update
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn changed(update: &Update) -> Vec<String> {
    update.changed.iter().map(ToString::to_string).collect()
}

fn state() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A cluster and two routes, as revision 4.
async fn first_push(stream: &mut Stream) {
    stream
        .send(response(Kind::Cluster, 4, vec![cluster("2", "c")]))
        .await;
    let routes = vec![route("3", "a", "c"), route("4", "b", "c")];
    stream.send(response(Kind::Route, 4, routes)).await;
    stream.send(barrier(4)).await;
}

#[tokio::test]
async fn a_reconnect_reports_what_is_held_and_takes_only_what_changed() {
    let mut server = Server::start().await;
    let state = state();
    let mut proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    let versions = stream.subscriptions().await;
    assert!(versions.values().all(Vec::is_empty), "{versions:?}");
    first_push(&mut stream).await;
    let update = proxy.applies().await;
    assert_eq!(update.revision, 4);
    assert_eq!(update.time_ms, server::COMMITTED_MS);
    assert_eq!(
        update.origin,
        Origin::Server(Arc::from(server.address.as_str()))
    );
    assert_eq!(changed(&update), ["clusters/c", "routes/a", "routes/b"]);
    for kind in [type_url::CLUSTER, type_url::ROUTE, type_url::REVISION] {
        stream.ack(kind).await;
    }
    drop(stream);

    let mut stream = server.accept().await;
    let versions = stream.subscriptions().await;
    assert_eq!(versions[type_url::CLUSTER], ["c=2"]);
    assert_eq!(versions[type_url::ROUTE], ["a=3", "b=4"]);
    assert_eq!(versions[type_url::REVISION], ["revision=4"]);
    stream
        .send(response(Kind::Route, 5, vec![route("5", "b", "c")]))
        .await;
    stream.send(barrier(5)).await;
    let update = proxy.applies().await;
    assert_eq!(
        (update.revision, changed(&update)),
        (5, vec!["routes/b".to_owned()])
    );
    assert_eq!(update.resources.len(), 3);
    stream.ack(type_url::ROUTE).await;
    stream.ack(type_url::REVISION).await;
    proxy.stop().await;
}

#[tokio::test]
async fn the_ack_comes_after_the_workers_and_their_refusal_is_the_detail() {
    let mut server = Server::start().await;
    let state = state();
    let mut proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    stream.subscriptions().await;
    stream
        .send(response(Kind::Listener, 1, vec![listener("1", "web")]))
        .await;
    stream.send(barrier(1)).await;
    let (_, answer) = proxy.updates.recv().await.unwrap();
    assert!(stream.has_said_nothing());
    let fault = FieldError::new("listeners/web", "address", "127.0.0.1:80 is in use");
    answer.send(Err(vec![fault])).unwrap();
    for kind in [type_url::LISTENER, type_url::REVISION] {
        let detail = stream.nack(kind).await;
        assert_eq!(detail.code, 3);
        assert_eq!(
            detail.message,
            "listeners/web: address: 127.0.0.1:80 is in use"
        );
    }
    assert!(!proxy.status.is_ready());
    let error = proxy.status.report().last_error.unwrap();
    assert!(error.refused && error.message.contains("is in use"));

    // What was refused is not held, neither on this stream nor on the next.
    drop(stream);
    let mut stream = server.accept().await;
    assert!(stream.subscriptions().await.values().all(Vec::is_empty));
    stream
        .send(response(Kind::Listener, 2, vec![listener("2", "web")]))
        .await;
    stream.send(barrier(2)).await;
    assert_eq!(changed(&proxy.applies().await), ["listeners/web"]);
    stream.ack(type_url::LISTENER).await;
    assert!(proxy.status.is_ready());
    assert_eq!(proxy.status.report().last_error, None);
    proxy.stop().await;
}

#[tokio::test]
async fn a_push_being_applied_when_the_stream_breaks_is_seen_through() {
    let mut server = Server::start().await;
    let state = state();
    let mut proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    stream.subscriptions().await;
    first_push(&mut stream).await;
    let (_, answer) = proxy.updates.recv().await.unwrap();
    drop(stream);
    answer.send(Ok(())).unwrap();
    let mut stream = server.accept().await;
    assert_eq!(
        stream.subscriptions().await[type_url::ROUTE],
        ["a=3", "b=4"]
    );
    proxy.stop().await;
}

#[tokio::test]
async fn pushes_are_read_while_one_is_being_applied() {
    let mut server = Server::start().await;
    let state = state();
    let mut proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    stream.subscriptions().await;
    first_push(&mut stream).await;
    let (_, answer) = proxy.updates.recv().await.unwrap();
    // More than the queues and windows between the two hold.
    for index in 0..200 {
        let mut large = cluster("5", &format!("c{index}"));
        large.aliases = vec!["x".repeat(100_000)];
        stream.send(response(Kind::Cluster, 5, vec![large])).await;
    }
    stream.send(barrier(5)).await;
    answer.send(Ok(())).unwrap();
    assert_eq!(proxy.applies().await.changed.len(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn every_address_gets_its_turn() {
    let mut one = Server::start().await;
    let mut two = Server::start().await;
    let (dead, _taken) = server::dead_address();
    let state = state();
    let servers = format!("{dead},{},{}", one.address, two.address);
    let mut proxy = Proxy::start(&servers, state.path());
    let (mut stream, of_one) = tokio::select! {
        stream = one.accept() => (stream, true),
        stream = two.accept() => (stream, false),
    };
    stream.subscriptions().await;
    first_push(&mut stream).await;
    proxy.applies().await;
    stream.ack(type_url::CLUSTER).await;
    // The server of this stream goes away for good; the other one takes over.
    drop(stream);
    let other = if of_one {
        one.stop().await;
        &mut two
    } else {
        two.stop().await;
        &mut one
    };
    let mut stream = other.accept().await;
    assert_eq!(
        stream.subscriptions().await[type_url::ROUTE],
        ["a=3", "b=4"]
    );
    stream.send(barrier(5)).await;
    let origin = proxy.applies().await.origin;
    assert_eq!(origin, Origin::Server(Arc::from(other.address.as_str())));
    let mut reports = proxy.status.subscribe();
    let server = Arc::from(other.address.as_str());
    let connected =
        |of: &Connection| matches!(of, Connection::Connected { server: to, .. } if *to == server);
    reports
        .wait_for(|report| connected(&report.connection))
        .await
        .unwrap();
    proxy.stop().await;
}

#[tokio::test]
async fn a_server_that_fails_is_tried_again_and_again() {
    let mut server = Server::start().await;
    let state = state();
    let proxy = Proxy::start(&server.address, state.path());
    for _ in 0..3 {
        let stream = server.accept().await;
        stream.fail("not now").await;
        let mut reports = proxy.status.subscribe();
        let told = |message: &str| message.ends_with("the stream failed: Unavailable: not now");
        let report = reports
            .wait_for(|report| {
                report
                    .last_error
                    .as_ref()
                    .is_some_and(|error| told(&error.message))
            })
            .await
            .unwrap()
            .clone();
        assert!(!report.last_error.unwrap().refused);
    }
    let mut stream = server.accept().await;
    stream.subscriptions().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_whose_server_is_away_starts_from_its_disk() {
    let mut server = Server::start().await;
    let state = state();
    let mut proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    stream.subscriptions().await;
    first_push(&mut stream).await;
    proxy.applies().await;
    stream.ack(type_url::CLUSTER).await;
    proxy.stop().await;

    // Nobody answers: what was in force is in force again, with its age.
    let (dead, _taken) = server::dead_address();
    let mut proxy = Proxy::start(&dead, state.path());
    let update = proxy.applies().await;
    assert_eq!((update.revision, update.origin.clone()), (4, Origin::Disk));
    assert_eq!(update.resources.len(), 3);
    let mut reports = proxy.status.subscribe();
    let gone = |of: &Connection| matches!(of, Connection::Disconnected { .. });
    let report = reports
        .wait_for(|report| gone(&report.connection))
        .await
        .unwrap()
        .clone();
    let served = report.served.unwrap();
    assert_eq!((served.origin.clone(), served.resources), (Origin::Disk, 3));
    assert!(served.age(std::time::SystemTime::now()).is_some());
    assert!(
        report
            .last_error
            .unwrap()
            .message
            .contains("cannot connect")
    );
    proxy.stop().await;

    // The server is there again: the stream goes on from what the disk had.
    let mut proxy = Proxy::start(&server.address, state.path());
    proxy.applies().await;
    let mut stream = server.accept().await;
    assert_eq!(
        stream.subscriptions().await[type_url::ROUTE],
        ["a=3", "b=4"]
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_kept_aside_and_the_proxy_starts_empty() {
    let mut server = Server::start().await;
    let state = state();
    std::fs::write(state.path().join(LAST_GOOD_FILE), "rubbish").unwrap();
    let proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    assert!(stream.subscriptions().await.values().all(Vec::is_empty));
    let error = proxy.status.report().last_error.unwrap().message;
    assert!(
        error.contains("is refused: it is no last good configuration"),
        "{error}"
    );
    assert!(state.path().join(format!("{LAST_GOOD_FILE}.bad")).exists());
    assert!(!proxy.status.is_ready());
    proxy.stop().await;
}

#[tokio::test]
async fn what_the_workers_refuse_from_disk_is_asked_for_again() {
    let mut server = Server::start().await;
    let state = state();
    let mut proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    stream.subscriptions().await;
    first_push(&mut stream).await;
    proxy.applies().await;
    stream.ack(type_url::CLUSTER).await;
    proxy.stop().await;

    let mut proxy = Proxy::start(&server.address, state.path());
    let (_, answer) = proxy.updates.recv().await.unwrap();
    answer
        .send(Err(vec![FieldError::new("", "", "no")]))
        .unwrap();
    let mut stream = server.accept().await;
    assert!(stream.subscriptions().await.values().all(Vec::is_empty));
    proxy.stop().await;
}

#[tokio::test]
async fn a_response_far_above_the_usual_limit_is_read() {
    let mut server = Server::start().await;
    let state = state();
    let proxy = Proxy::start(&server.address, state.path());
    let mut stream = server.accept().await;
    stream.subscriptions().await;
    let mut large = cluster("1", "c");
    large.resource.as_mut().unwrap().value = vec![0xff; 65 << 20];
    stream.send(response(Kind::Cluster, 1, vec![large])).await;
    stream.send(barrier(1)).await;
    let detail = stream.nack(type_url::CLUSTER).await;
    assert!(detail.message.starts_with("clusters/c: cannot be decoded"));
    proxy.stop().await;
}
