//! The runtime with real components.

mod cache;
mod hostile;
mod smoke;
mod support;
