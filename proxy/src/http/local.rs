//! What a worker has for its requests: nothing in it is shared with another thread.

use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use fleetway_api::Name;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::policies::Outbound;
use crate::{
    access_log::Buffers,
    cluster::{Cluster, Rotation},
    overload::Overload,
    snapshot::{ListenerConfig, Live, Slot, Snapshot},
    upstream::Pool,
};

/// A worker's own state.
#[derive(Debug)]
pub struct Local {
    /// The worker's number, from 0.
    pub worker: usize,
    /// Lines of access logs.
    pub logs: Buffers,
    /// Kept upstream connections.
    pub pool: Rc<Pool>,
    /// Whether load is to be shed.
    pub overload: Arc<Overload>,
    live: Arc<Live>,
    rotations: RefCell<Vec<Rotation>>,
    random: RefCell<SmallRng>,
    /// From the first request on that passes a policy.
    outbound: OnceCell<Arc<Outbound>>,
}

impl Local {
    /// The state of worker number `worker`.
    #[must_use]
    pub fn new(worker: usize, live: Arc<Live>, overload: Arc<Overload>) -> Rc<Self> {
        Rc::new(Self {
            worker,
            logs: Buffers::new(worker),
            pool: Rc::default(),
            overload,
            live,
            rotations: RefCell::default(),
            random: RefCell::new(SmallRng::from_os_rng()),
            outbound: OnceCell::new(),
        })
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.live.load()
    }

    /// What sends the requests of policies' own from this worker.
    #[must_use]
    pub fn outbound(self: &Rc<Self>) -> Arc<Outbound> {
        self.outbound.get_or_init(|| Outbound::start(self)).clone()
    }

    /// A number below `bound`, each as likely; 0 for a bound of 0 or 1.
    #[must_use]
    pub fn random_below(&self, bound: u32) -> u32 {
        if bound <= 1 {
            0
        } else {
            self.random.borrow_mut().random_range(0..bound)
        }
    }

    /// Sixteen random bytes.
    #[must_use]
    pub fn random_id(&self) -> u128 {
        self.random.borrow_mut().random()
    }

    /// The endpoint of `cluster` whose turn it is on this worker.
    #[must_use]
    pub fn pick(&self, cluster: &Cluster, slot: Slot) -> Option<SocketAddr> {
        let mut rotations = self.rotations.borrow_mut();
        while rotations.len() <= slot.index() {
            let place = usize::try_from(self.random_below(1 << 20)).unwrap_or_default();
            rotations.push(Rotation::beginning_at(place));
        }
        cluster.pick(rotations.get(slot.index())?)
    }
}

/// A snapshot with one of its listeners: what the requests of a connection are served by.
#[derive(Debug)]
pub struct View {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The listener the connection came in on.
    pub listener: Arc<ListenerConfig>,
}

/// A listener on one worker: keeps the view its connections share until the next swap.
#[derive(Debug)]
pub struct Entrance {
    name: Name,
    view: RefCell<Rc<View>>,
    checked: Cell<u64>,
}

impl View {
    /// Whether connections of this view can be served by what `listener` says, too.
    fn is_continued_by(&self, listener: &ListenerConfig) -> bool {
        self.listener.protocol.is_kind_of(&listener.protocol)
    }
}

impl Entrance {
    /// The entrance of a listener of the snapshot in force; `None` if it has no such listener.
    #[must_use]
    pub fn new(local: &Local, name: Name) -> Option<Self> {
        let generation = local.live.generation();
        let snapshot = local.live.load();
        let listener = snapshot.listeners.get(&name)?.clone();
        let view = RefCell::new(Rc::new(View { snapshot, listener }));
        Some(Self {
            name,
            view,
            checked: Cell::new(generation),
        })
    }

    /// The listener's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the listener speaks another protocol in the snapshot in force: then its new
    /// connections need another entrance.
    #[must_use]
    pub fn is_superseded(&self, local: &Local) -> bool {
        let snapshot = local.live.load();
        let listener = snapshot.listeners.get(&self.name);
        listener.is_some_and(|listener| !self.view.borrow().is_continued_by(listener))
    }

    /// An entrance of the same listener as the snapshot in force has it; `None` if it is gone.
    #[must_use]
    pub fn renewed(&self, local: &Local) -> Option<Self> {
        Self::new(local, self.name.clone())
    }

    /// The snapshot in force. Once the listener is gone from it, or speaks another protocol, the
    /// last one that had it: the connections still open are served by that one to their end.
    #[must_use]
    pub fn view(&self, local: &Local) -> Rc<View> {
        let generation = local.live.generation();
        if self.checked.get() != generation {
            self.checked.set(generation);
            let snapshot = local.live.load();
            if let Some(listener) = snapshot.listeners.get(&self.name).cloned()
                && self.view.borrow().is_continued_by(&listener)
            {
                self.view.replace(Rc::new(View { snapshot, listener }));
            }
        }
        self.view.borrow().clone()
    }
}
