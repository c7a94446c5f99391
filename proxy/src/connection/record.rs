//! The line in the access log of a connection that is passed on.

use std::{net::SocketAddr, rc::Rc};

use tokio::time::Instant;

use crate::{
    access_log::{Line, field},
    cluster::Cluster,
    http::{Local, View, cause_of, put_connection},
    relay::Cut,
    tls::TlsFacts,
};

/// What is taken down of one connection, if its listener has an access log. Dropped before its end,
/// it tells of a connection that was cut.
#[derive(Debug)]
pub(super) struct Record(Option<Box<Entry>>);

#[derive(Debug)]
struct Entry {
    /// Until it has ended.
    line: Option<Line>,
    local: Rc<Local>,
    view: Rc<View>,
    began: Instant,
    cause: &'static str,
    received: u64,
    sent: u64,
}

impl Record {
    /// Of a connection that is served by `view`.
    pub(super) fn begin(
        local: &Rc<Local>,
        view: &Rc<View>,
        client: SocketAddr,
        tls: Option<&TlsFacts>,
    ) -> Self {
        if view.listener.access_log.is_none() {
            return Self(None);
        }
        let mut line = local.logs.line();
        put_connection(&mut line, view.listener.name.as_str(), client, tls);
        Self(Some(Box::new(Entry {
            line: Some(line),
            local: local.clone(),
            view: view.clone(),
            began: Instant::now(),
            cause: "aborted",
            received: 0,
            sent: 0,
        })))
    }

    /// What is spoken on it, and the name its client asked for where the proxy has read that only.
    pub(super) fn speaks(mut self, protocol: &'static str, name: Option<&str>) -> Self {
        if let Some(line) = self.line() {
            line.word(field!("protocol"), protocol);
            if let Some(name) = name {
                line.text(field!("tls_server_name"), name.as_bytes());
            }
        }
        self
    }

    /// It is passed on to this endpoint.
    pub(super) fn sent_to(&mut self, cluster: &Cluster, endpoint: SocketAddr) {
        if let Some(line) = self.line() {
            line.word(field!("cluster"), cluster.name.as_str());
            line.address(field!("upstream_address"), endpoint);
        }
    }

    /// So many bytes were passed on.
    pub(super) fn moved(&mut self, to_upstream: u64, to_client: u64) {
        if let Some(entry) = &mut self.0 {
            entry.received += to_upstream;
            entry.sent += to_client;
        }
    }

    /// It could not be passed on.
    pub(super) fn failed(mut self, cause: &'static str) {
        if let Some(entry) = &mut self.0 {
            entry.cause = cause;
        }
    }

    /// Both sides have ended, or it was cut.
    pub(super) fn ended(mut self, relayed: &Result<(), Cut>) {
        if let Some(entry) = &mut self.0 {
            entry.cause = relayed.as_ref().err().map_or("", cause_of);
        }
    }

    fn line(&mut self) -> Option<&mut Line> {
        self.0.as_mut()?.line.as_mut()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let (Some(line), Some(log)) = (self.line.take(), &self.view.listener.access_log) else {
            return;
        };
        self.local.logs.put(log, line, |line| {
            if !self.cause.is_empty() {
                line.word(field!("cause"), self.cause);
            }
            line.number(field!("bytes_received"), self.received);
            line.number(field!("bytes_sent"), self.sent);
            line.duration(field!("duration_us"), self.began.elapsed());
        });
    }
}
