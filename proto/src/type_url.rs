//! The type URLs by which resources are named on a discovery stream.

/// What every type URL begins with.
pub const PREFIX: &str = "type.googleapis.com/";
/// [`crate::v1::Component`].
pub const COMPONENT: &str = "type.googleapis.com/fleetway.v1.Component";
/// [`crate::v1::Policy`].
pub const POLICY: &str = "type.googleapis.com/fleetway.v1.Policy";
/// [`crate::v1::Cluster`].
pub const CLUSTER: &str = "type.googleapis.com/fleetway.v1.Cluster";
/// [`crate::v1::Endpoints`].
pub const ENDPOINTS: &str = "type.googleapis.com/fleetway.v1.Endpoints";
/// [`crate::v1::Listener`].
pub const LISTENER: &str = "type.googleapis.com/fleetway.v1.Listener";
/// [`crate::v1::Route`].
pub const ROUTE: &str = "type.googleapis.com/fleetway.v1.Route";
/// [`crate::v1::Secret`].
pub const SECRET: &str = "type.googleapis.com/fleetway.v1.Secret";
/// [`crate::v1::Revision`], the barrier.
pub const REVISION: &str = "type.googleapis.com/fleetway.v1.Revision";
