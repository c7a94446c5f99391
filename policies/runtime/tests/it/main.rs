//! The runtime with real components.

mod hostile;
mod smoke;
mod support;
