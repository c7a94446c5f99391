//! Idle connections of one worker, kept for the next request.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use super::http2::Sessions;
use crate::http1::Connection;

/// The idle connections of one worker, by endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>, foldhash::fast::RandomState>>,
    /// Those that speak HTTP/2, idle or not.
    pub(super) http2: Sessions,
}

#[derive(Debug)]
struct Idle {
    connection: Connection<TcpStream>,
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
    /// The connection to `endpoint` that was used last, if one is open.
    pub(super) fn take(&self, endpoint: SocketAddr) -> Option<Connection<TcpStream>> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&endpoint)?;
        let now = Instant::now();
        while let Some(mut last) = kept.pop() {
            if last.until > now && last.connection.is_open() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request, unless enough are kept.
    pub(super) fn put(&self, keep: Keep, connection: Connection<TcpStream>) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(keep.endpoint).or_default();
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
