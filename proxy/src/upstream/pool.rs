//! Idle connections of one worker, kept for the next request.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{Stream, auto::Choices, http2::Sessions};
use crate::{clock, http1::Connection, tls::Identity};

/// The idle connections of one worker, by endpoint and by the TLS settings they were made under: what
/// was trusted by others is never used again.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>, foldhash::fast::RandomState>>,
    /// Those that speak HTTP/2, idle or not.
    pub(super) http2: Sessions,
    /// What endpoints chose that may.
    pub(super) choices: Choices,
    /// The most idle connections, where not each endpoint has its own.
    most: Option<usize>,
    /// Those of single clients, to be swept too.
    of_clients: RefCell<Vec<Weak<Pool>>>,
}

/// The most idle connections kept for one client's connection.
const MAX_OF_CLIENT: usize = 16;

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
    /// A pool for the connections that say that they are for one client: they are kept for its next
    /// request, and closed with it. This one sweeps it.
    #[must_use]
    pub fn of_client(&self) -> Rc<Self> {
        let pool = Rc::new(Self {
            most: Some(MAX_OF_CLIENT),
            ..Self::default()
        });
        self.of_clients.borrow_mut().push(Rc::downgrade(&pool));
        pool
    }

    /// The connection of `key` that was used last, if one is open.
    pub(super) fn take(&self, key: Key) -> Option<Connection<Stream>> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&key)?;
        let now = clock::now();
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
        if let Some(most) = self.most
            && idle.values().map(Vec::len).sum::<usize>() >= most
        {
            return;
        }
        let key = (keep.endpoint, connection.ask(Stream::identity));
        let kept = idle.entry(key).or_default();
        if kept.len() < keep.max_idle {
            kept.push(Idle {
                connection,
                until: clock::now() + keep.idle_timeout,
            });
        }
    }

    /// Closes what has been kept too long or was closed by the other side.
    pub fn sweep(&self) {
        self.http2.sweep();
        self.choices.sweep();
        self.of_clients.borrow_mut().retain(|pool| {
            let pool = pool.upgrade();
            pool.inspect(|pool| pool.sweep()).is_some()
        });
        let now = Instant::now();
        self.idle.borrow_mut().retain(|_, kept| {
            kept.retain_mut(|idle| idle.until > now && idle.connection.is_open());
            !kept.is_empty()
        });
    }
}
