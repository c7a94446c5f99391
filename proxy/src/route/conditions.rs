//! What routes with the same hosts and path are told apart by: their order, and the conditions on
//! method, header fields, query and tags.

use std::{borrow::Cow, cell::OnceCell, cmp::Reverse, sync::Arc};

use fleetway_api::{PathMatch, Route};
use smallvec::SmallVec;

use super::{RequestView, Routed};

/// A route in a list, with what mostly decides about it at hand: a lookup that had to follow the
/// pointers to the route itself would take three times as long in a large table, waiting for
/// memory.
#[derive(Clone)]
pub(super) struct Slot<T> {
    /// The exact path or the prefix; empty for other routes.
    pub(super) text: Arc<str>,
    pub(super) priority: i32,
    /// Whether there are no conditions but host and path.
    is_plain: bool,
    pub(super) entry: T,
}

impl<T: Routed> Slot<T> {
    pub(super) fn new(entry: T) -> Self {
        let route = entry.route();
        Self {
            text: match &route.path {
                PathMatch::Exact(text) | PathMatch::Prefix(text) => text.clone(),
                PathMatch::Template(_) | PathMatch::Regex(_) => Arc::default(),
            },
            priority: route.priority,
            is_plain: route.methods.is_empty()
                && route.headers.is_empty()
                && route.query.is_empty()
                && route.tags.is_empty(),
            entry,
        }
    }

    pub(super) fn route(&self) -> &Route {
        self.entry.route()
    }

    /// Whether it holds the route of that name.
    pub(super) fn is(&self, route: &Route) -> bool {
        self.route().common.name == route.common.name
    }
}

/// Whether `one` stands before `other` where both have the same host and path.
pub(super) fn precedes(one: &Route, other: &Route) -> bool {
    let rank = |route: &Route| {
        (
            Reverse(route.priority),
            route.methods.is_empty(),
            Reverse(route.headers.len() + route.query.len() + route.tags.len()),
        )
    };
    rank(one)
        .cmp(&rank(other))
        .then_with(|| one.common.name.cmp(&other.common.name))
        .is_lt()
}

/// Puts a route in its place in an ordered list.
pub(super) fn insert<T: Routed>(list: &mut Vec<Slot<T>>, slot: Slot<T>) {
    let at = list.partition_point(|other| precedes(other.route(), slot.route()));
    if list.len() < 16 {
        list.reserve_exact(1);
    }
    list.insert(at, slot);
}

/// Takes `route`, or what has its name, out of a list.
pub(super) fn remove<T: Routed>(list: &mut Vec<Slot<T>>, route: &Route) -> Option<Slot<T>> {
    let at = list.iter().position(|other| other.is(route))?;
    Some(list.remove(at))
}

/// One lookup: the request, and the best route found so far.
pub(super) struct Search<'r, 't, T> {
    request: RequestView<'r>,
    parameters: OnceCell<Parameters<'r>>,
    best: Option<(i32, &'t T)>,
}

/// The query, decoded.
type Parameters<'r> = SmallVec<[(Cow<'r, str>, Cow<'r, str>); 8]>;

impl<'r, 't, T: Routed> Search<'r, 't, T> {
    pub(super) fn new(request: RequestView<'r>) -> Self {
        Self {
            request,
            parameters: OnceCell::new(),
            best: None,
        }
    }

    pub(super) fn path(&self) -> &'r str {
        self.request.path
    }

    /// Whether routes of at most this priority come too late.
    pub(super) fn is_settled(&self, priority: i32) -> bool {
        self.best.is_some_and(|(best, _)| best >= priority)
    }

    /// Takes the first of the `candidates`, which are in order, that matches, if it beats what was
    /// found before. Their host is known to match; `path` tells whether their path does.
    pub(super) fn offer(
        &mut self,
        candidates: impl IntoIterator<Item = &'t Slot<T>>,
        path: impl Fn(&Slot<T>) -> bool,
    ) where
        T: 't,
    {
        for slot in candidates {
            if self.is_settled(slot.priority) {
                return;
            }
            if path(slot) && (slot.is_plain || self.holds(slot.route())) {
                self.best = Some((slot.priority, &slot.entry));
                return;
            }
        }
    }

    pub(super) fn finish(self) -> Option<&'t T> {
        self.best.map(|(_, entry)| entry)
    }

    fn holds(&self, route: &Route) -> bool {
        (route.methods.is_empty() || route.methods.contains(self.request.method))
            && route.headers.iter().all(|header| {
                let values = self.request.headers.get_all(&header.name);
                let values = values.iter().map(http::HeaderValue::as_bytes);
                header.value.holds(header.invert, values)
            })
            && route.query.iter().all(|parameter| {
                let values = self
                    .parameters()
                    .iter()
                    .filter(|(name, _)| *name == *parameter.name)
                    .map(|(_, value)| value.as_bytes());
                parameter.value.holds(parameter.invert, values)
            })
            && route.tags.iter().all(|tag| self.request.tags.contains(tag))
    }

    fn parameters(&self) -> &Parameters<'r> {
        self.parameters.get_or_init(|| {
            let query = self.request.query.unwrap_or_default();
            form_urlencoded::parse(query.as_bytes()).collect()
        })
    }
}
