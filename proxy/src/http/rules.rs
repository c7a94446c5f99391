//! What listeners and routes say is changed in header fields.

use std::{rc::Rc, sync::Arc};

use fleetway_api::{HeaderRules, Route};
use http::HeaderMap;

use super::{Downstream, local::View};
use crate::{route::Routed as _, snapshot::BoundRoute};

/// The rules for a message, the later ones last: where both change a field the route has its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'v> {
    listener: Option<&'v HeaderRules>,
    route: Option<&'v HeaderRules>,
}

impl<'v> Rules<'v> {
    /// The rules for requests that `route` takes.
    pub(super) fn of_request(view: &'v View, route: &'v Route) -> Self {
        let http = view.listener.protocol.http();
        Self {
            listener: http.and_then(|http| http.request_headers.as_deref()),
            route: route.request_headers.as_deref(),
        }
    }

    /// The rules for responses to requests that `route` takes, or none does.
    pub(super) fn of_response(view: &'v View, route: Option<&'v Route>) -> Self {
        let http = view.listener.protocol.http();
        Self {
            listener: http.and_then(|http| http.response_headers.as_deref()),
            route: route.and_then(|route| route.response_headers.as_deref()),
        }
    }

    fn is_empty(self) -> bool {
        self.listener.is_none() && self.route.is_none()
    }

    /// Changes the fields.
    pub(super) fn apply(self, fields: &mut HeaderMap) {
        for rules in self.listener.into_iter().chain(self.route) {
            apply(rules, fields);
        }
    }

    /// Takes out of trailers what would pass for a field of the head that was changed.
    fn screen(self, trailers: &mut HeaderMap) {
        for rules in self.listener.into_iter().chain(self.route) {
            for name in rules.names() {
                trailers.remove(name);
            }
        }
    }
}

/// Changes the fields as one set of rules says.
pub(super) fn apply(rules: &HeaderRules, fields: &mut HeaderMap) {
    for name in &rules.remove {
        fields.remove(name);
    }
    for (name, value) in &rules.set {
        fields.insert(name, value.clone());
    }
    for (name, value) in &rules.add {
        fields.append(name, value.clone());
    }
}

/// The rules for the trailers that may follow a request.
#[derive(Debug, Clone)]
pub(super) struct TrailerRules {
    view: Rc<View>,
    bound: Arc<BoundRoute>,
}

impl TrailerRules {
    /// The rules for the trailers of a request with this body, if it may have some.
    pub(super) fn of(view: &Rc<View>, bound: &Arc<BoundRoute>, body: &Downstream) -> Option<Self> {
        if http_body::Body::is_end_stream(body) || Rules::of_request(view, bound.route()).is_empty()
        {
            return None;
        }
        Some(Self {
            view: view.clone(),
            bound: bound.clone(),
        })
    }

    /// Takes out of trailers what would pass for a field of the head that was changed.
    pub(super) fn screen(&self, trailers: &mut HeaderMap) {
        Rules::of_request(&self.view, self.bound.route()).screen(trailers);
    }
}
