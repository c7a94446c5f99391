//! What routes with the same hosts and path are told apart by: their order, and the conditions on
//! method, header fields and query.

use std::{borrow::Cow, cell::OnceCell, cmp::Reverse};

use fleetway_api::{PathMatch, Route};
use smallvec::SmallVec;

use super::{RequestView, Routed};

/// Whether `one` stands before `other` where both have the same host and path.
pub(super) fn precedes(one: &Route, other: &Route) -> bool {
    let rank = |route: &Route| {
        (
            Reverse(route.priority),
            route.methods.is_empty(),
            Reverse(route.headers.len() + route.query.len()),
        )
    };
    rank(one)
        .cmp(&rank(other))
        .then_with(|| one.common.name.cmp(&other.common.name))
        .is_lt()
}

/// Puts `route` in its place in an ordered list.
pub(super) fn insert<T: Routed>(list: &mut Vec<T>, route: T) {
    let at = list.partition_point(|other| precedes(other.route(), route.route()));
    if list.len() < 16 {
        list.reserve_exact(1);
    }
    list.insert(at, route);
}

/// Takes `route`, or what has its name, out of a list.
pub(super) fn remove<T: Routed>(list: &mut Vec<T>, route: &Route) -> Option<T> {
    let at = list.iter().position(|other| is_same(other, route))?;
    Some(list.remove(at))
}

/// Whether `entry` holds the route of that name.
pub(super) fn is_same<T: Routed>(entry: &T, route: &Route) -> bool {
    entry.route().common.name == route.common.name
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
        candidates: impl IntoIterator<Item = &'t T>,
        path: impl Fn(&PathMatch) -> bool,
    ) {
        for candidate in candidates {
            let route = candidate.route();
            if self.is_settled(route.priority) {
                return;
            }
            if self.holds(route, &path) {
                self.best = Some((route.priority, candidate));
                return;
            }
        }
    }

    pub(super) fn finish(self) -> Option<&'t T> {
        self.best.map(|(_, entry)| entry)
    }

    fn holds(&self, route: &Route, path: impl Fn(&PathMatch) -> bool) -> bool {
        (route.methods.is_empty() || route.methods.contains(self.request.method))
            && route.headers.iter().all(|header| {
                let values = self.request.headers.get_all(&header.name);
                let values = values.iter().map(http::HeaderValue::as_bytes);
                header.value.holds(header.invert, values)
            })
            && path(&route.path)
            && route.query.iter().all(|parameter| {
                let values = self
                    .parameters()
                    .iter()
                    .filter(|(name, _)| *name == *parameter.name)
                    .map(|(_, value)| value.as_bytes());
                parameter.value.holds(parameter.invert, values)
            })
    }

    fn parameters(&self) -> &Parameters<'r> {
        self.parameters.get_or_init(|| {
            let query = self.request.query.unwrap_or_default();
            form_urlencoded::parse(query.as_bytes()).collect()
        })
    }
}
