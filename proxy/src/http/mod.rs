//! HTTP requests from their head to the last byte of their response.

mod again;
mod body;
mod connect;
mod error;
mod exchange;
mod forward;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod grpc;
mod headers;
mod local;
mod policies;
mod record;
mod rules;
mod screen;
mod target;
mod tunnel;
mod upgrade;
mod watchdog;

pub use body::{BodyError, Downstream, RequestBody, ResponseBody};
pub use error::Failure;
pub use exchange::{Connection, exchange};
pub use fleetway_api::{PathFault, normalize};
pub(crate) use headers::remove_connection_specific;
pub use local::{Entrance, Local, View};
pub use record::{Record, cause_of, late, put_connection, refused};
pub use tunnel::{ToTunnel, Tunnel};
pub use watchdog::{Allowed, Overdue};
