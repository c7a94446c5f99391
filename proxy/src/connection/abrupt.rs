//! A connection that is reset unless it ends in order.

use super::wire::Wire;

/// Resets its connection when dropped, so that the other side cannot take what was cut for whole.
#[derive(Debug)]
pub(super) struct Abrupt<W: Wire> {
    stream: W,
    in_order: bool,
}

impl<W: Wire> Abrupt<W> {
    pub(super) fn new(stream: W) -> Self {
        Self {
            stream,
            in_order: false,
        }
    }

    pub(super) fn stream(&mut self) -> &mut W {
        &mut self.stream
    }

    /// Everything was said: closes it as usual.
    pub(super) fn end_in_order(mut self) {
        self.in_order = true;
    }
}

impl<W: Wire> Drop for Abrupt<W> {
    fn drop(&mut self) {
        if !self.in_order {
            // Where it cannot be set the connection is gone already.
            let _ = self.stream.tcp().set_zero_linger();
        }
    }
}
