//! What is counted of HTTP/2 connections that were ended as floods.

use super::{Counter, Rendered};

/// What a client sent without bound over HTTP/2: few enough for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flood {
    /// SETTINGS frames, each of which is answered.
    #[error("too many SETTINGS frames")]
    Settings,
    /// PING frames, each of which is answered.
    #[error("too many PING frames")]
    Pings,
    /// WINDOW_UPDATE frames out of proportion to what was sent to the client.
    #[error("too many WINDOW_UPDATE frames")]
    WindowUpdates,
    /// PRIORITY, GOAWAY and frames of no known type, which ask for nothing.
    #[error("too many frames that ask for nothing")]
    Idle,
    /// RST_STREAM frames.
    #[error("too many streams reset")]
    Resets,
    /// CONTINUATION frames of one header block.
    #[error("too many CONTINUATION frames for one header block")]
    Continuations,
    /// A header block that was begun and not ended in time.
    #[error("a request's head took too long")]
    SlowHead,
    /// What the library finds: resets of streams not taken up yet, stream errors that are the
    /// client's doing, empty DATA frames, header lists far too large.
    #[error("too many requests that come to nothing")]
    Requests,
}

impl Flood {
    const ALL: [Self; 8] = [
        Self::Settings,
        Self::Pings,
        Self::WindowUpdates,
        Self::Idle,
        Self::Resets,
        Self::Continuations,
        Self::SlowHead,
        Self::Requests,
    ];

    /// As it stands in the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Pings => "pings",
            Self::WindowUpdates => "window_updates",
            Self::Idle => "idle_frames",
            Self::Resets => "resets",
            Self::Continuations => "continuations",
            Self::SlowHead => "slow_head",
            Self::Requests => "requests",
        }
    }
}

/// Floods as one worker counts them.
#[derive(Debug, Default)]
pub struct FloodShard([Counter; Flood::ALL.len()]);

impl FloodShard {
    /// Counts a connection that was ended for it.
    pub fn ended(&self, why: Flood) {
        if let Some(counter) = self.0.get(why as usize) {
            counter.increment();
        }
    }
}

/// Writes the sums of `shards`.
pub(super) fn render<'s>(
    label: &str,
    shards: impl Iterator<Item = &'s FloodShard> + Clone,
    out: &mut Rendered,
) {
    for why in Flood::ALL {
        let counted = shards.clone().filter_map(|s| s.0.get(why as usize));
        out.counter(
            "fleetway_listener_http2_floods_total",
            &format!("{label},reason=\"{}\"", why.label()),
            counted.map(Counter::get).sum(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place() {
        for (place, why) in Flood::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place, "{why:?}");
        }
    }
}
