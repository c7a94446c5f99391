//! Idle connections of one worker, kept for the next request.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Stream, http2::Sessions};
use crate::{http1::Connection, tls::Identity};

/// The idle connections of one worker, by endpoint and by the TLS settings they were made under: what
/// was trusted by others is never used again.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>, foldhash::fast::RandomState>>,
    /// Those that speak HTTP/2, idle or not.
    pub(super) http2: Sessions,
}

/// Which endpoint, and under which TLS settings.
pub(super) type Key = (SocketAddr, Option<Identity>);

#[derive(Debug)]
struct Idle {
    connection: Connection<Stream>,
    until: Instant,
}

/// How a connection is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) endpoint: SocketAddr,
    pub(super) idle_timeout: Duration,
    pub(super) max_idle: usize,
}

impl Pool {
    /// The connection to `endpoint` under `tls` that was used last, if one is open.
    pub(super) fn take(
        &self,
        endpoint: SocketAddr,
        tls: Option<Identity>,
    ) -> Option<Connection<Stream>> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&(endpoint, tls))?;
        let now = Instant::now();
        while let Some(mut last) = kept.pop() {
            if last.until > now && last.connection.is_open() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request, unless enough are kept.
    pub(super) fn put(&self, keep: Keep, connection: Connection<Stream>) {
        let mut idle = self.idle.borrow_mut();
        let key = (keep.endpoint, connection.io().identity());
        let kept = idle.entry(key).or_default();
        if kept.len() < keep.max_idle {
            kept.push(Idle {
                connection,
                until: Instant::now() + keep.idle_timeout,
            });
        }
    }

    /// Closes what has been kept too long or was closed by the other side.
    pub fn sweep(&self) {
        self.http2.sweep();
        let now = Instant::now();
        self.idle.borrow_mut().retain(|_, kept| {
            kept.retain_mut(|idle| idle.until > now && idle.connection.is_open());
            !kept.is_empty()
        });
    }
}
