//! Weighted round robin: a fixed order worked out when the snapshot is built, and a place in it
//! kept by each worker.

use std::{cell::Cell, cmp::Reverse, collections::BinaryHeap, net::SocketAddr};

use fleetway_api::Endpoint;

/// The order in which a cluster's endpoints are taken, repeated without end.
#[derive(Debug, Default)]
pub struct Schedule {
    endpoints: Box<[SocketAddr]>,
    /// Places in `endpoints`; empty when all weights are equal and they are just taken in turn.
    turns: Box<[u16]>,
}

/// The most turns one round has; weights are scaled down to fit.
const MAX_TURNS: u64 = 16_384;

/// A worker's place in a schedule.
#[derive(Debug, Default)]
pub struct Rotation(Cell<usize>);

impl Rotation {
    /// A place to begin at; workers begin at different ones, so that they do not all take the
    /// first endpoint first.
    #[must_use]
    pub const fn beginning_at(place: usize) -> Self {
        Self(Cell::new(place))
    }
}

impl Schedule {
    /// The order for these endpoints. Endpoints of weight 0 are left out.
    #[must_use]
    pub fn new(endpoints: &[Endpoint]) -> Self {
        let members: Vec<&Endpoint> = endpoints.iter().filter(|e| e.weight > 0).collect();
        let addresses: Box<[SocketAddr]> = members.iter().map(|e| e.address).collect();
        let equal = members
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.weight == b.weight));
        if equal || members.len() > usize::from(u16::MAX) {
            return Self {
                endpoints: addresses,
                turns: Box::default(),
            };
        }
        let divisor = members
            .iter()
            .fold(0, |divisor, e| gcd(divisor, u64::from(e.weight)));
        let total: u64 = members.iter().map(|e| u64::from(e.weight) / divisor).sum();
        let scale = total.div_ceil(MAX_TURNS).max(1);
        let weights: Vec<u64> = members
            .iter()
            .map(|e| (u64::from(e.weight) / divisor / scale).max(1))
            .collect();
        Self {
            endpoints: addresses,
            turns: interleave(&weights),
        }
    }

    /// The endpoint whose turn it is.
    #[must_use]
    pub fn pick(&self, rotation: &Rotation) -> Option<SocketAddr> {
        let place = rotation.0.get().checked_rem(self.round())?;
        rotation.0.set(place + 1);
        let index = match self.turns.get(place) {
            Some(index) => usize::from(*index),
            None => place,
        };
        self.endpoints.get(index).copied()
    }

    /// How many turns there are until every endpoint had its own; 0 without endpoints.
    #[must_use]
    pub fn round(&self) -> usize {
        if self.turns.is_empty() {
            self.endpoints.len()
        } else {
            self.turns.len()
        }
    }

    /// The endpoints that can be taken.
    #[must_use]
    pub fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }
}

/// Each place as often as its weight, spread evenly: the next turn is always that of the one whose
/// deadline is first (stride scheduling).
fn interleave(weights: &[u64]) -> Box<[u16]> {
    let total: u64 = weights.iter().sum();
    // A deadline is a fraction of the round; a common scale keeps it whole.
    const ROUND: u64 = 1 << 40;
    let mut queue: BinaryHeap<Reverse<(u64, u16)>> = weights
        .iter()
        .enumerate()
        .filter_map(|(index, weight)| {
            Some(Reverse((
                ROUND.checked_div(*weight)? / 2,
                u16::try_from(index).ok()?,
            )))
        })
        .collect();
    let mut turns = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
    for _ in 0..total {
        let Some(Reverse((deadline, index))) = queue.pop() else {
            break;
        };
        turns.push(index);
        let weight = weights.get(usize::from(index)).copied().unwrap_or(1);
        queue.push(Reverse((deadline + ROUND / weight, index)));
    }
    turns.into()
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
        (1..)
            .zip(weights)
            .map(|(port, weight)| Endpoint {
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                weight: *weight,
            })
            .collect()
    }

    fn round(weights: &[u32], count: usize) -> Vec<u16> {
        let schedule = Schedule::new(&endpoints(weights));
        let rotation = Rotation::default();
        (0..count)
            .filter_map(|_| schedule.pick(&rotation))
            .map(|a| a.port())
            .collect()
    }

    #[test]
    fn equal_endpoints_are_taken_in_turn() {
        assert_eq!(round(&[1, 1, 1], 7), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(round(&[5, 5], 4), [1, 2, 1, 2]);
    }

    #[test]
    fn weights_are_kept_exactly_and_spread_over_the_round() {
        assert_eq!(round(&[3, 1], 8), [1, 1, 2, 1, 1, 1, 2, 1]);
        let turns = round(&[1000, 500, 250], 7);
        assert_eq!(turns.iter().filter(|port| **port == 1).count(), 4);
        assert_eq!(turns.iter().filter(|port| **port == 2).count(), 2);
    }

    #[test]
    fn an_endpoint_of_weight_zero_is_never_taken() {
        assert_eq!(round(&[0, 1], 3), [2, 2, 2]);
        assert_eq!(round(&[0], 3), Vec::<u16>::new());
        assert_eq!(round(&[], 1), Vec::<u16>::new());
    }
}
