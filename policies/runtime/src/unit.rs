//! A policy where it is attached.

use std::{sync::Arc, time::Duration};

use crate::{Grant, Program, Shared};

/// What a call is held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may run, waiting for bodies left aside.
    pub timeout: Duration,
    /// The memory of its instance in bytes, of all its memories.
    pub memory: usize,
    /// The fuel it may use, where the runtime counts it.
    pub fuel: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(50),
            memory: 32 * 1024 * 1024,
            fuel: None,
        }
    }
}

/// A policy where it is attached: a program with a name, a configuration and bounds.
#[derive(Debug)]
pub struct Unit {
    /// The policy's name.
    pub name: Arc<str>,
    /// What it does.
    pub program: Arc<Program>,
    /// Its configuration there, as JSON.
    pub config: Arc<str>,
    /// What each call is held to.
    pub limits: Limits,
    /// Where it may send requests of its own.
    pub grant: Grant,
    /// What all calls of the policy share.
    pub shared: Arc<Shared>,
}
