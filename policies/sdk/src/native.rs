//! The proxy's side made up in memory, for tests: one proxy for each thread, so for each test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::abi::imports::fleetway::policy::key_value::Entry;
use crate::http_client::{IncomingResponse, OutgoingRequest, SendError};

pub(crate) mod lent;
pub(crate) mod resources;

pub(crate) use lent::{clock, config, http_client, key_value, log, metadata, metrics, random};

/// The name the policy under test goes by.
pub(crate) const POLICY: &str = "self";

/// A series of a metric: its name and its labels.
pub(crate) type Series = (String, Vec<(String, String)>);

/// What a proxy keeps for policies.
#[derive(Default)]
pub(crate) struct Host {
    /// The time since 1970, and that since the test began.
    pub(crate) now: Duration,
    pub(crate) monotonic: Duration,
    /// How much randomness was given.
    pub(crate) random: u64,
    pub(crate) log: Vec<(::log::Level, String)>,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) counters: BTreeMap<Series, u64>,
    pub(crate) gauges: BTreeMap<Series, f64>,
    pub(crate) observations: BTreeMap<Series, Vec<f64>>,
    /// Notes by policy and key.
    pub(crate) notes: BTreeMap<(String, String), Vec<u8>>,
    /// Shared values, with when each expires.
    pub(crate) values: BTreeMap<String, (Entry, Option<Duration>)>,
    /// Versions given so far.
    pub(crate) versions: u64,
    /// What answers the policy's own requests.
    pub(crate) upstream: Option<Box<Answers>>,
}

/// Answers the requests of a policy under test.
pub(crate) type Answers = dyn FnMut(&OutgoingRequest) -> Result<IncomingResponse, SendError>;

/// Does something with this thread's proxy.
pub(crate) fn host<T>(act: impl FnOnce(&mut Host) -> T) -> T {
    thread_local! {
        static HOST: RefCell<Host> = RefCell::default();
    }
    HOST.with_borrow_mut(act)
}
