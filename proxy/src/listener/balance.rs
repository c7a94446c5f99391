//! Which worker a connection lives on.
//!
//! The kernel spreads connections over the workers' sockets by a hash of their addresses. Many come
//! out even; of a few, such as those of clients that keep one connection of HTTP/2 each, one worker
//! may get all. So the worker that accepts one looks at how many of its listener the others have, and
//! hands it over where that is fewer. A request is never handed over, only the connection, once.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

/// How many connections wait for a worker that is busy; whoever finds as many keeps what it has.
const WAITING_MAX: usize = 64;

/// The connections of one listener, by worker.
#[derive(Debug)]
pub struct Balance(Box<[Seat]>);

/// One worker's. A cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Seat {
    /// How many it has, and is handed.
    open: AtomicUsize,
    handed: Sender<Accepted>,
}

/// A connection that was accepted, on its way to the worker that serves it.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The client.
    pub peer: SocketAddr,
    /// Where it is counted.
    pub place: Place,
}

/// One worker's part in it.
#[derive(Debug)]
pub struct Share {
    /// What it has in common with the others.
    pub balance: Arc<Balance>,
    /// What they hand over to it.
    pub handed: Receiver<Accepted>,
}

/// A connection's place with a worker, until it is dropped.
#[derive(Debug)]
pub struct Place {
    balance: Arc<Balance>,
    worker: usize,
}

impl Balance {
    /// Shares for so many workers.
    #[must_use]
    pub fn shares(workers: usize) -> Vec<Share> {
        let (seats, handed): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (sender, receiver) = channel(WAITING_MAX);
                let open = AtomicUsize::new(0);
                (
                    Seat {
                        open,
                        handed: sender,
                    },
                    receiver,
                )
            })
            .unzip();
        let balance = Arc::new(Self(seats.into()));
        let share = |handed| Share {
            balance: balance.clone(),
            handed,
        };
        handed.into_iter().map(share).collect()
    }

    /// A place for a connection that came in on worker `own`: there, unless another has fewer. A
    /// quarter more is let be, for handing over has its price too.
    #[must_use]
    pub fn place(self: &Arc<Self>, own: usize) -> Place {
        let open = |seat: &Seat| seat.open.load(Relaxed);
        let here = self.0.get(own).map_or(0, open);
        let seats = self.0.iter().enumerate();
        let taken = seats.filter(|(_, seat)| !seat.handed.is_closed());
        let least = taken
            .map(|(worker, seat)| (worker, open(seat)))
            .min_by_key(|of| of.1);
        let worker = match least {
            Some((worker, least)) if here > least + least / 4 => worker,
            _ => own,
        };
        Place::new(self.clone(), worker)
    }

    /// A place for a connection that is to be on worker `own`.
    #[must_use]
    pub fn stay(self: &Arc<Self>, own: usize) -> Place {
        Place::new(self.clone(), own)
    }

    /// Hands a connection over to the worker it has its place with.
    ///
    /// # Errors
    /// Gives it back if that worker takes none now.
    pub fn hand_over(&self, handed: Accepted) -> Result<(), Accepted> {
        match self.0.get(handed.place.worker) {
            Some(seat) => seat
                .handed
                .try_send(handed)
                .map_err(TrySendError::into_inner),
            None => Err(handed),
        }
    }
}

impl Place {
    fn new(balance: Arc<Balance>, worker: usize) -> Self {
        if let Some(seat) = balance.0.get(worker) {
            seat.open.fetch_add(1, Relaxed);
        }
        Self { balance, worker }
    }

    /// The worker.
    #[must_use]
    pub const fn worker(&self) -> usize {
        self.worker
    }

    /// The same connection's place with another worker.
    #[must_use]
    pub fn moved_to(&self, worker: usize) -> Self {
        Self::new(self.balance.clone(), worker)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(seat) = self.balance.0.get(self.worker) {
            seat.open.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_spread_evenly_and_many_nearly_so() {
        let shares = Balance::shares(4);
        let balance = &shares[0].balance;
        // All come in on one worker.
        let mut places: Vec<Place> = (0..8).map(|_| balance.place(3)).collect();
        let on = |places: &[Place], worker| places.iter().filter(|p| p.worker() == worker).count();
        for worker in 0..4 {
            assert_eq!(on(&places, worker), 2);
        }
        places.retain(|place| place.worker() != 1);
        assert_eq!(balance.place(3).worker(), 1);
        places.extend((0..4000).map(|_| balance.place(0)));
        for worker in 0..4 {
            let share = on(&places, worker);
            assert!((900..=1200).contains(&share), "{share}");
        }
        drop(places);
        assert_eq!(balance.place(2).worker(), 2);
    }

    #[test]
    fn what_a_worker_does_not_take_is_given_back() {
        let mut shares = Balance::shares(2);
        let gone = shares.pop().unwrap();
        let balance = shares[0].balance.clone();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = || TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let handed = |place| Accepted {
            stream: connected(),
            peer: socket.local_addr().unwrap(),
            place,
        };
        let _here = balance.place(0);
        let place = balance.place(0);
        assert_eq!(place.worker(), 1);
        drop(gone);
        let back = balance.hand_over(handed(place)).unwrap_err();
        let place = back.place.moved_to(0);
        drop(back);
        assert_eq!(place.worker(), 0);
        assert!(balance.hand_over(handed(place)).is_ok());
        assert!(shares[0].handed.try_recv().is_ok());
    }
}
