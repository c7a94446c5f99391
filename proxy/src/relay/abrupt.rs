//! A side that is reset unless it ends in order.

use super::Side;

/// Resets its side when dropped, so that what was cut cannot be taken for whole.
#[derive(Debug)]
pub struct Abrupt<S: Side> {
    side: S,
    in_order: bool,
}

impl<S: Side> Abrupt<S> {
    /// Takes charge of how `side` ends.
    pub fn new(side: S) -> Self {
        Self {
            side,
            in_order: false,
        }
    }

    /// The side.
    pub fn stream(&mut self) -> &mut S {
        &mut self.side
    }

    /// Everything was said: closes it as usual.
    pub fn end_in_order(mut self) {
        self.in_order = true;
    }
}

impl<S: Side> Drop for Abrupt<S> {
    fn drop(&mut self) {
        if !self.in_order {
            self.side.reset();
        }
    }
}
