//! The runtime with real components.

mod cache;
mod hostile;
mod languages;
mod smoke;
mod support;
