//! End to end: the real programs as processes, on loopback, on free ports.

mod atomicity;
mod durability;
mod http;
mod independence;
mod refusal;
mod support;
