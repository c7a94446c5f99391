//! The connection to the management servers: one discovery stream to one of them, for ever.
//!
//! What is said on the stream is decided in [`super::session`]; here it is only carried.

use std::{
    collections::{HashSet, VecDeque},
    error::Error,
    future::Future,
    pin::{Pin, pin},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use fleetway_api::FieldError;
use http::Uri;
use rand::Rng as _;
use tokio::{
    sync::mpsc,
    task,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{
    Applier,
    advice::{self, Stage},
    backoff::Backoff,
    held::Held,
    push::Push,
    session::{Action, Node, Session, join, tell},
    trust::{Trust, Unusable},
};
use crate::snapshot::{Apply, Origin};

/// How long to wait for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked for a sign of life, and how long it may take to give it.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest response, in bytes: several times that of 100,000 routes.
const MAX_RESPONSE: usize = 256 << 20;
/// HTTP/2 windows, in bytes: a first full push is not slowed down by the round trip.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Requests on their way to the connection.
const SENDING: usize = 16;
/// Reading stops while this many requests wait to be sent.
const MAX_UNSENT: usize = 1024;
/// A stream that lasted this long did some good, even if it brought nothing.
const LASTING: Duration = Duration::from_secs(5);
/// How long a server may say nothing at first until that is told.
const SILENCE: Duration = Duration::from_secs(5);
/// How many different log lines are remembered so as not to repeat them.
const MAX_LOGGED: usize = 64;

/// The management servers, at least one. Reads from a list: `http://10.0.0.1:7081,http://…`.
#[derive(Debug, Clone)]
pub struct Servers(Vec<Server>);

#[derive(Debug, Clone)]
struct Server {
    address: Arc<str>,
    endpoint: Endpoint,
    /// For a server that is reached over TLS.
    trust: Option<Arc<Trust>>,
}

/// An address that cannot be one of a management server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{address}\" is no address of a management server: {reason}")]
pub struct AddressError {
    /// As it was given.
    pub address: String,
    /// What is wrong with it, and the remedy.
    pub reason: &'static str,
}

impl FromStr for Servers {
    type Err = AddressError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        Self::read(list, None)
    }
}

impl Servers {
    /// Reads a list in which `https://…` is reached with what `trust` has.
    ///
    /// # Errors
    /// When an address is none, or over TLS and there is nothing to trust.
    pub fn read(list: &str, trust: Option<Trust>) -> Result<Self, AddressError> {
        let trust = trust.map(Arc::new);
        list.split(',')
            .map(|address| Server::parse(address.trim(), trust.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Server {
    fn parse(address: &str, trust: Option<&Arc<Trust>>) -> Result<Self, AddressError> {
        let fault = |reason| AddressError {
            address: address.to_owned(),
            reason,
        };
        let form = "write http://HOST:PORT or https://HOST:PORT";
        let uri: Uri = address.parse().map_err(|_| fault(form))?;
        let trust = match (uri.scheme_str(), trust) {
            (Some("http"), _) => None,
            (Some("https"), Some(trust)) => Some(trust.clone()),
            (Some("https"), None) => {
                return Err(fault(
                    "over TLS it has to be told whom to believe: give --xds-ca FILE",
                ));
            }
            _ => return Err(fault(form)),
        };
        if uri.port_u16().is_none_or(|port| port == 0) {
            return Err(fault(
                "the port is missing: write http://HOST:PORT or https://HOST:PORT",
            ));
        }
        if uri.host().is_none_or(str::is_empty) || !matches!(uri.path(), "" | "/") {
            return Err(fault(form));
        }
        if uri.query().is_some() || uri.authority().is_some_and(|at| at.as_str().contains('@')) {
            return Err(fault(form));
        }
        let endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .tcp_nodelay(true)
            .user_agent(concat!("fleetway-proxy/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| fault("the program's name is no header value"))?;
        Ok(Self {
            address: address.into(),
            endpoint,
            trust,
        })
    }

    async fn connect(&self) -> Result<Channel, StreamError> {
        let Some(trust) = &self.trust else {
            return Ok(self.endpoint.connect().await?);
        };
        let endpoint = self.endpoint.clone().tls_config(trust.read().await?)?;
        Ok(endpoint.connect().await?)
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("cannot connect: {}", chain(.0))]
    Connect(#[from] tonic::transport::Error),
    #[error(transparent)]
    Trust(#[from] Unusable),
    #[error("the stream failed: {}", describe(.0))]
    Status(#[from] tonic::Status),
    #[error("the server closed the stream")]
    Closed,
    #[error(transparent)]
    TooMuch(#[from] super::session::TooMuch),
}

/// Follows the servers until `shutdown`: one stream at a time, each going on from what the ones
/// before it brought, beginning with `held`.
pub(super) async fn follow<A: Apply + Sync>(
    servers: &Servers,
    node: &Node,
    mut held: Held,
    applier: &Applier<'_, A>,
    shutdown: &CancellationToken,
) {
    let mut backoff = Backoff::new(servers.0.len());
    let mut journal = Journal::default();
    let first = rand::rng().random_range(0..servers.0.len().max(1));
    for server in servers.0.iter().cycle().skip(first) {
        let mut stream = Stream {
            server,
            node,
            applier,
            held: &mut held,
            journal: &mut journal,
            opened: None,
            answered: false,
            progressed: false,
        };
        let error = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            error = stream.run() => error,
        };
        let stage = stream.stage();
        let advice = match &error {
            // What answers everything alike can take a stream for a request and end it at once.
            StreamError::Closed if stage < Stage::Answered => Some(advice::NO_DISCOVERY),
            error => advice::on(error, server.trust.is_some(), stage),
        };
        let lasted = stream.opened.is_some_and(|at| at.elapsed() >= LASTING);
        if lasted || stream.progressed {
            backoff.reset();
            journal.forget();
        }
        let error = match advice {
            Some(advice) => format!("{error} ({advice})"),
            None => error.to_string(),
        };
        let reason = format!("{}: {error}", server.address);
        if journal.is_new(&reason) {
            tracing::warn!(server = %server.address, %error, "no configuration from the server, trying on");
        }
        applier.status.disconnected(reason);
        let pause = backoff.next(&mut rand::rng());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Which lines were logged since things last went well: each is worth one.
#[derive(Debug, Default)]
struct Journal(HashSet<String>);

impl Journal {
    fn is_new(&mut self, line: &str) -> bool {
        if self.0.len() >= MAX_LOGGED {
            return false;
        }
        self.0.insert(line.to_owned())
    }

    fn forget(&mut self) {
        self.0.clear();
    }
}

/// A push on its way into force.
type Applying<'a> = Pin<Box<dyn Future<Output = Result<Held, Vec<FieldError>>> + Send + 'a>>;

/// One stream to one server.
struct Stream<'a, A> {
    server: &'a Server,
    node: &'a Node,
    applier: &'a Applier<'a, A>,
    held: &'a mut Held,
    journal: &'a mut Journal,
    /// When the server took it.
    opened: Option<Instant>,
    /// Whether the server has sent anything on it.
    answered: bool,
    /// Whether it brought anything new.
    progressed: bool,
}

impl<'a, A: Apply + Sync> Stream<'a, A> {
    /// Runs it to its end. A push being applied then is seen through: what is in force must be
    /// what the next stream reports.
    async fn run(&mut self) -> StreamError {
        let mut applying = None;
        let error = match self.carry(&mut applying).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if let Some(applying) = applying {
            let _ = self.settle(applying.await);
        }
        error
    }

    async fn carry(
        &mut self,
        applying: &mut Option<Applying<'a>>,
    ) -> Result<std::convert::Infallible, StreamError> {
        let channel = self.server.connect().await?;
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
        let mut failing = self.applier.status.failing_policies();
        let (mut session, first) = {
            let failing = failing.borrow_and_update();
            Session::start(self.node, &failing, self.held.clone())
        };
        let (sender, requests) = mpsc::channel(SENDING);
        for request in first {
            // There is room for them: see SENDING.
            let _ = sender.try_send(request);
        }
        let mut responses = client
            .delta_aggregated_resources(ReceiverStream::new(requests))
            .await?
            .into_inner();
        self.opened();
        let mut silent = pin!(sleep(SILENCE));
        let mut unsent: VecDeque<Box<DeltaDiscoveryRequest>> = VecDeque::new();
        loop {
            let actions = tokio::select! {
                outcome = wait(applying), if applying.is_some() => {
                    *applying = None;
                    let outcome = self.settle(outcome);
                    session.applied(outcome.as_ref().map(|()| self.held.clone()).map_err(Vec::as_slice))
                }
                permit = sender.reserve(), if !unsent.is_empty() => {
                    let permit = permit.map_err(|_| StreamError::Closed)?;
                    if let Some(request) = unsent.pop_front() {
                        permit.send(*request);
                    }
                    continue;
                }
                response = responses.message(), if session.may_read() && unsent.len() < MAX_UNSENT => {
                    let response = response?.ok_or(StreamError::Closed)?;
                    self.answered();
                    session.received(response)?
                }
                // Its sender lives as long as the status.
                Ok(()) = failing.changed(), if unsent.len() < MAX_UNSENT => {
                    let request = tell(self.node, &failing.borrow_and_update());
                    unsent.push_back(Box::new(request));
                    continue;
                }
                () = silent.as_mut(), if !self.answered && !silent.is_elapsed() => {
                    self.silent();
                    continue;
                }
            };
            for action in actions {
                match action {
                    Action::Send(request) => unsent.push_back(request),
                    Action::Apply(push) => {
                        let server = self.server.address.clone();
                        *applying = Some(Box::pin(put_in_force(push, server, self.applier)));
                    }
                }
            }
        }
    }

    const fn stage(&self) -> Stage {
        match (self.answered, self.opened) {
            (true, _) => Stage::Answered,
            (false, Some(_)) => Stage::Opened,
            (false, None) => Stage::Asked,
        }
    }

    fn opened(&mut self) {
        self.opened = Some(Instant::now());
        self.applier.status.connected(&self.server.address);
    }

    /// The server sent something: before, it may have taken the stream only to refuse it.
    fn answered(&mut self) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let address = &self.server.address;
        self.applier.status.answered();
        if self.journal.is_new(&format!("{address}: connected")) {
            tracing::info!(server = %address, revision = self.held.revision().number, "connected to the management server");
        }
    }

    fn silent(&mut self) {
        let address = &self.server.address;
        let message = format!(
            "{address}: the server took the stream and has sent nothing for {} s: its log and `fleetway status` say whether it holds something back, or has no revision yet",
            SILENCE.as_secs()
        );
        if self.journal.is_new(&message) {
            tracing::warn!("{message}");
        }
        self.applier.status.silent(message);
    }

    /// Notes how a push ended.
    fn settle(&mut self, outcome: Result<Held, Vec<FieldError>>) -> Result<(), Vec<FieldError>> {
        match outcome {
            Ok(held) => {
                let revision = held.revision();
                self.progressed |= revision != self.held.revision();
                tracing::debug!(server = %self.server.address, revision = revision.number, "applied");
                *self.held = held;
                Ok(())
            }
            Err(faults) => {
                let message = join(&faults);
                if self.journal.is_new(&message) {
                    tracing::error!(
                        server = %self.server.address, serving = self.held.revision().number, faults = %message,
                        "refused a configuration, what was in force stays"
                    );
                }
                self.applier.status.refused(message);
                Err(faults)
            }
        }
    }
}

/// Builds a push away from this thread, since a large one takes long, and puts it in force.
async fn put_in_force<A: Apply + Sync>(
    push: Box<Push>,
    server: Arc<str>,
    applier: &Applier<'_, A>,
) -> Result<Held, Vec<FieldError>> {
    let candidate = task::spawn_blocking(move || push.build())
        .await
        .unwrap_or_else(|error| {
            let message = format!("the proxy failed while it read the configuration: {error}");
            Err(vec![FieldError::new("", "", message)])
        })?;
    applier.put(candidate, Origin::Server(server)).await
}

/// The outcome of what is being applied; never comes while nothing is.
async fn wait(applying: &mut Option<Applying<'_>>) -> Result<Held, Vec<FieldError>> {
    match applying {
        Some(applying) => applying.await,
        None => std::future::pending().await,
    }
}

fn describe(status: &tonic::Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    if let Some(source) = status.source() {
        text.push_str(": ");
        text.push_str(&chain(source));
    }
    text
}

/// An error with its causes; libraries tend to hide the telling one at the end.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        at = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_until_things_go_well() {
        let mut journal = Journal::default();
        assert!(journal.is_new("a: refused") && journal.is_new("b: refused"));
        assert!(!journal.is_new("a: refused"));
        journal.forget();
        assert!(journal.is_new("a: refused"));
        for line in 0..MAX_LOGGED {
            journal.is_new(&line.to_string());
        }
        assert!(!journal.is_new("one more"));
    }

    #[test]
    fn addresses_are_checked_at_the_start() {
        for good in [
            "http://127.0.0.1:7081",
            "http://xds.example:7081/",
            "http://[::1]:7081, http://b:1",
        ] {
            assert!(good.parse::<Servers>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:7081",
            "https://127.0.0.1:7081",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:7081/v3",
            "http://127.0.0.1:7081?x",
            "http://me@127.0.0.1:7081",
            "http://127.0.0.1:7081,",
            "http://:7081",
        ] {
            assert!(bad.parse::<Servers>().is_err(), "{bad}");
        }
        let trust = Trust {
            authorities: "ca.pem".into(),
            identity: None,
        };
        assert!(Servers::read("https://a:1,http://b:1", Some(trust)).is_ok());
        let error = "http://a:1,ftp://b:2".parse::<Servers>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"ftp://b:2\" is no address of a management server: write http://HOST:PORT or https://HOST:PORT"
        );
    }
}
