//! What a call holds: all that its instance can reach.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use http::{HeaderMap, request, response};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::{
    Bounds, Client, Facts, Failure, Notebook, Protocol, Unit, Upstream,
    body::{Buffered, Pipe},
    ticker::TICK,
};

/// The most table elements of all instances of a call.
const TABLE_ELEMENTS: usize = 200_000;
/// The most handles it can keep.
const HANDLES: u32 = 10_000;

/// A request under policies: its head, and what goes with it from one to the next.
#[derive(Debug)]
pub struct Subject {
    /// Its head.
    pub request: request::Parts,
    /// What is known of it besides.
    pub facts: Arc<Facts>,
    /// What its policies write down.
    pub notebook: Notebook,
}

impl Subject {
    /// For a look at what a policy is: a request nobody has made.
    pub(crate) fn of_nobody() -> Self {
        let (request, ()) = http::Request::new(()).into_parts();
        let client = Client {
            address: ([0, 0, 0, 0], 0).into(),
            listener: "".into(),
            connection: 0,
            tls: None,
        };
        let facts = Facts {
            id: String::new(),
            received: SystemTime::UNIX_EPOCH,
            protocol: Protocol::Http11,
            client: Arc::new(client),
            paths: Arc::new(|path| Ok(path.to_owned())),
            bounds: Bounds {
                fields: 100,
                bytes: 65_536,
            },
            hops: 0,
            outbound: None,
        };
        Self {
            request,
            facts: Arc::new(facts),
            notebook: Notebook::default(),
        }
    }
}

/// All that an instance can reach.
pub(crate) struct State {
    pub(crate) unit: Arc<Unit>,
    /// Boxed: it is passed from call to call.
    pub(crate) subject: Box<Subject>,
    /// The request has been sent.
    pub(crate) read_only: bool,
    pub(crate) upstream: Option<Box<Upstream>>,
    pub(crate) response: Option<Box<response::Parts>>,
    pub(crate) buffer: Option<Buffered>,
    /// The body that passes through, and the trailers behind it.
    pub(crate) pipe: Option<Arc<Mutex<Pipe>>>,
    pub(crate) trailers: Option<HeaderMap>,
    /// The memory its instance has, in bytes.
    pub(crate) memory: usize,
    tables: usize,
    /// The handles it has been given and not dropped.
    handles: u32,
    /// The ticks it has run for since it last waited for somebody else.
    ticks: u32,
    /// The requests of its own it has sent.
    pub(crate) sent: u32,
}

impl State {
    pub(crate) fn new(unit: Arc<Unit>, subject: Box<Subject>) -> Self {
        Self {
            unit,
            subject,
            read_only: false,
            upstream: None,
            response: None,
            buffer: None,
            pipe: None,
            trailers: None,
            memory: 0,
            tables: 0,
            handles: 0,
            ticks: 0,
            sent: 0,
        }
    }

    /// A tick has passed while it ran: others have their turn, if it may go on.
    pub(crate) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.ticks += 1;
        // The first may come at once.
        if TICK * (self.ticks - 1) >= self.unit.limits.timeout {
            return Err(Failure::Timeout.into());
        }
        self.unit.program.runtime.ticker.need();
        // Others, and what they wait for too: a plain yield would have this one run again before the
        // system is asked for what has come.
        let yielding = Box::pin(tokio::task::yield_now());
        Ok(UpdateDeadline::YieldCustom(1, yielding))
    }

    /// It is given one more handle of fields.
    pub(crate) fn take_handle(&mut self) -> wasmtime::Result<()> {
        self.handles += 1;
        if self.handles > HANDLES {
            return Err(Failure::Misuse("it keeps more than 10,000 handles".into()).into());
        }
        Ok(())
    }

    /// It has dropped one.
    pub(crate) fn drop_handle(&mut self) {
        self.handles = self.handles.saturating_sub(1);
    }

    /// It has waited for somebody else, and begins anew.
    pub(crate) fn waited(&mut self) {
        self.ticks = 0;
        self.unit.program.runtime.ticker.need();
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memory = self.memory + desired.saturating_sub(current);
        if memory > self.unit.limits.memory {
            return Err(Failure::Memory.into());
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let tables = self.tables + desired.saturating_sub(current);
        if tables > TABLE_ELEMENTS {
            return Err(Failure::Memory.into());
        }
        self.tables = tables;
        Ok(true)
    }
}
