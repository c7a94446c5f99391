//! One push: what is sent to a client for one state, cut into responses as the client takes them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use fleetway_api::{Kind, Name, proto::type_url};

use super::subscription::{Owed, Why};
use crate::snapshot::{Entry, Snapshot};

/// About how large a response may get, in bytes. One resource larger than that travels alone.
pub(super) const RESPONSE_SIZE: usize = 1024 * 1024;

/// What a response carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Kind(Kind),
    /// The barrier.
    Revision,
}

impl Subject {
    pub(super) fn of(url: &str) -> Option<Self> {
        if url == type_url::REVISION {
            return Some(Self::Revision);
        }
        Kind::from_type_url(url).map(Self::Kind)
    }

    pub(super) const fn type_url(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.type_url(),
            Self::Revision => type_url::REVISION,
        }
    }
}

/// What one push sends of one subject, as far as it is still to be sent.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) subject: Subject,
    upserts: Upserts,
    removed: VecDeque<Arc<str>>,
    /// Send a response even if it is empty.
    answer: bool,
}

#[derive(Debug)]
enum Upserts {
    /// Everything the client may see, behind this name. Read off the state as it is sent, so
    /// that a client that reads slowly holds up no list.
    All(Option<Name>),
    Listed(VecDeque<Arc<Entry>>),
    Barrier(Bytes),
}

/// What one response carried, to be owed again if it is refused.
#[derive(Debug, Default)]
pub(super) struct Carried {
    all: bool,
    names: Vec<Arc<str>>,
}

impl Part {
    pub(super) fn new(kind: Kind, all: bool, upserts: Vec<Arc<Entry>>, answer: bool) -> Self {
        Self {
            subject: Subject::Kind(kind),
            upserts: if all {
                Upserts::All(None)
            } else {
                Upserts::Listed(upserts.into())
            },
            removed: VecDeque::new(),
            answer,
        }
    }

    pub(super) fn barrier(frame: Bytes) -> Self {
        Self {
            subject: Subject::Revision,
            upserts: Upserts::Barrier(frame),
            removed: VecDeque::new(),
            answer: true,
        }
    }

    #[must_use]
    pub(super) fn and_removed(mut self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.removed.extend(names);
        self
    }

    /// Whether there is nothing (more) to send.
    pub(super) fn is_empty(&self) -> bool {
        let upserts = match &self.upserts {
            Upserts::All(_) | Upserts::Barrier(_) => false,
            Upserts::Listed(list) => list.is_empty(),
        };
        upserts && self.removed.is_empty() && !self.answer
    }

    /// Takes the next response's worth, and notes what it was if that is to be kept.
    fn cut(
        &mut self,
        snapshot: &Snapshot,
        fleet: &str,
        keep: bool,
    ) -> (Vec<Bytes>, Vec<Arc<str>>, Carried) {
        let mut resources = Vec::new();
        let mut carried = Carried::default();
        let mut room = Room::default();
        self.answer = false;
        match &mut self.upserts {
            Upserts::Barrier(frame) => {
                resources.push(std::mem::take(frame));
                self.upserts = Upserts::Listed(VecDeque::new());
            }
            Upserts::Listed(list) => {
                while let Some(entry) = list.pop_front_if(|entry| room.takes(size(entry))) {
                    resources.push(entry.data.encoded.frame().clone());
                    if keep {
                        carried.names.push(entry.resource.name().as_str().into());
                    }
                }
            }
            Upserts::All(after) => {
                carried.all = true;
                let kind = match self.subject {
                    Subject::Kind(kind) => snapshot.resources().of(kind),
                    Subject::Revision => return (resources, Vec::new(), carried),
                };
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut last = None;
                let mut done = true;
                for (name, entry) in kind.range::<_, Name>((from, Bound::Unbounded)) {
                    if !snapshot.visible(&entry.resource, fleet) {
                        continue;
                    }
                    if !room.takes(size(entry)) {
                        done = false;
                        break;
                    }
                    resources.push(entry.data.encoded.frame().clone());
                    last = Some(name);
                }
                if done {
                    self.upserts = Upserts::Listed(VecDeque::new());
                } else {
                    *after = last.cloned();
                }
            }
        }
        let mut removed = Vec::new();
        if matches!(&self.upserts, Upserts::Listed(list) if list.is_empty()) {
            while let Some(name) = self.removed.pop_front_if(|name| room.takes(name.len() + 4)) {
                removed.push(name);
            }
        }
        if keep {
            carried.names.extend(removed.iter().cloned());
        }
        (resources, removed, carried)
    }

    /// What it would still have sent.
    fn rest(self) -> Owed {
        let mut owed = Owed {
            answer: self.answer,
            ..Owed::default()
        };
        match self.upserts {
            Upserts::All(_) => owed.all = true,
            Upserts::Listed(list) => owed.names.extend(
                list.iter()
                    .map(|entry| (entry.resource.name().as_str().into(), Why::Held)),
            ),
            Upserts::Barrier(_) => {}
        }
        owed.names
            .extend(self.removed.into_iter().map(|name| (name, Why::Held)));
        owed
    }
}

/// How much of a response is taken.
#[derive(Default)]
struct Room {
    used: usize,
}

impl Room {
    /// Takes `size` bytes if they fit, or if they are the first.
    fn takes(&mut self, size: usize) -> bool {
        let fits = self.used == 0 || self.used + size <= RESPONSE_SIZE;
        if fits {
            self.used += size;
        }
        fits
    }
}

/// How much of a response a resource takes. A component travels alone, whatever its size.
fn size(entry: &Entry) -> usize {
    let size = entry.data.encoded.frame().len() + 8;
    match entry.resource.kind() {
        Kind::Component => size.max(RESPONSE_SIZE),
        _ => size,
    }
}

/// One push on its way.
#[derive(Debug)]
pub(super) struct Push {
    /// The state it leads to.
    pub(super) snapshot: Arc<Snapshot>,
    /// Each response waits for the answer to the one before.
    pub(super) stepwise: bool,
    /// What is to be sent yet.
    pub(super) parts: VecDeque<Part>,
    /// What was owed when it began, to be owed again if it is refused as a whole.
    pub(super) taken: Vec<(Kind, Owed)>,
    /// The client's words about what it refused.
    pub(super) refusal: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub(super) since_ms: i64,
    /// What was sent and not answered, by nonce.
    unanswered: BTreeMap<u64, (Subject, Carried)>,
}

/// One response's worth.
pub(super) struct Piece {
    pub(super) subject: Subject,
    pub(super) resources: Vec<Bytes>,
    pub(super) removed: Vec<Arc<str>>,
}

impl Push {
    pub(super) const fn new(snapshot: Arc<Snapshot>, stepwise: bool, since_ms: i64) -> Self {
        Self {
            snapshot,
            stepwise,
            parts: VecDeque::new(),
            taken: Vec::new(),
            refusal: None,
            since_ms,
            unanswered: BTreeMap::new(),
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.snapshot.revision()
    }

    /// Whether a response may go out now.
    pub(super) fn has_piece(&self) -> bool {
        !self.parts.is_empty() && (!self.stepwise || self.unanswered.is_empty())
    }

    /// The next response, to be sent under `nonce`.
    pub(super) fn next_piece(&mut self, nonce: u64, fleet: &str) -> Option<Piece> {
        while self.has_piece() {
            let part = self.parts.front_mut()?;
            let subject = part.subject;
            // A push that is refused as a whole goes back to its base: nothing to keep.
            let (resources, removed, carried) = part.cut(&self.snapshot, fleet, self.stepwise);
            if part.is_empty() {
                self.parts.pop_front();
            }
            if !self.stepwise && resources.is_empty() && removed.is_empty() {
                // The barrier says that there is nothing.
                continue;
            }
            self.unanswered.insert(nonce, (subject, carried));
            return Some(Piece {
                subject,
                resources,
                removed,
            });
        }
        None
    }

    /// Takes the answer to a response. `None` if it is not one of an unanswered response.
    pub(super) fn answered(&mut self, nonce: u64, subject: Subject) -> Option<Carried> {
        if self.unanswered.get(&nonce)?.0 != subject {
            return None;
        }
        self.unanswered.remove(&nonce).map(|(_, carried)| carried)
    }

    /// Whether everything was sent and answered.
    pub(super) fn is_done(&self) -> bool {
        self.parts.is_empty() && self.unanswered.is_empty()
    }

    /// Whether anything of `kind` is still to be sent or answered.
    pub(super) fn concerns(&self, kind: Kind) -> bool {
        let subject = Subject::Kind(kind);
        self.parts.iter().any(|part| part.subject == subject)
            || self.unanswered.values().any(|(of, _)| *of == subject)
    }

    /// Gives up a stepwise push at a refused response: what the client did not take, by kind.
    pub(super) fn abandon(&mut self, refused: Subject, carried: Carried) -> Vec<(Kind, Owed)> {
        let mut left = Vec::new();
        if let Subject::Kind(kind) = refused {
            let names = carried.names.into_iter().map(|name| (name, Why::Held));
            let owed = Owed {
                all: carried.all,
                // The client was answered, if with what it did not like.
                answer: false,
                names: names.collect(),
            };
            left.push((kind, owed));
        }
        for part in std::mem::take(&mut self.parts) {
            if let Subject::Kind(kind) = part.subject {
                left.push((kind, part.rest()));
            }
        }
        left
    }
}
