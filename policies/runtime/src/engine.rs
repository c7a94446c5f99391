//! What all policies of a process run on.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Semaphore;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{HasSelf, Linker},
};

use crate::{abi, cache::Cache, state::State, ticker::Ticker};

/// The stack a guest may use.
const WASM_STACK: usize = 512 * 1024;
/// What the host's own functions have beside it.
const HOST_STACK: usize = 512 * 1024;
/// The elements of a table: interpreters compiled to WebAssembly have large ones.
const TABLE_ELEMENTS: usize = 100_000;
/// The most memory one instance can be given.
pub(crate) const MEMORY_MAX: usize = 256 * 1024 * 1024;

/// How policies are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most calls at once.
    pub calls: u32,
    /// The folder where what was compiled is kept, for this user alone; `None` to compile at each
    /// start.
    pub cache: Option<PathBuf>,
    /// Whether calls can be bounded by fuel, which makes all of them slower.
    pub fuel: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            calls: 1000,
            cache: None,
            fuel: false,
        }
    }
}

/// What all policies of a process run on: the compiler, a pool of memory, a clock.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) ticker: Arc<Ticker>,
    /// One for each call there may be.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) options: Options,
    pub(crate) cache: Option<Cache>,
    pub(crate) compiled: AtomicU64,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Why policies cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address space or another of the process's bounds is too small.
    #[error("cannot set up the pool for policies: {0}")]
    Pool(String),
    /// A thread could not be started.
    #[error("cannot start the clock of policies: {0}")]
    Clock(#[from] std::io::Error),
}

impl Runtime {
    /// Sets it up. Memory is set aside as addresses only.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn new(options: Options) -> Result<Arc<Self>, SetupError> {
        let pool = |error: wasmtime::Error| SetupError::Pool(format!("{error:#}"));
        let engine = Engine::new(&config(&options)).map_err(pool)?;
        let mut linker = Linker::new(&engine);
        abi::Policy::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)
            .map_err(pool)?;
        let ticker = Ticker::start(&engine)?;
        let cache = options.cache.as_ref().and_then(|folder| {
            Cache::open(folder, &engine)
                .inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "compiled components cannot be kept: each start compiles them again"))
                .ok()
        });
        let calls = usize::try_from(options.calls).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Arc::new(Self {
            engine,
            linker,
            ticker,
            places: Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS))),
            options,
            cache,
            compiled: AtomicU64::new(0),
        }))
    }

    /// How many components it has compiled: those it found compiled are not counted.
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    /// Removes what is kept of components other than those of these digests (SHA-256, in lower-case
    /// hexadecimal). Reads and changes a folder: not for a thread that serves.
    pub fn retain(&self, digests: &[&str]) {
        if let Some(cache) = &self.cache {
            cache.retain(digests);
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.ticker.wake();
    }
}

fn config(options: &Options) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(options.calls)
        .total_stacks(options.calls)
        // Most components have one of each; those of interpreters have more.
        .total_memories(options.calls)
        .total_tables(options.calls.saturating_mul(4))
        .total_core_instances(options.calls.saturating_mul(16))
        .max_core_instances_per_component(100)
        .max_memories_per_component(4)
        .max_tables_per_component(20)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(MEMORY_MAX)
        // Pages a call has written are set back by copying while they are few, which is cheaper than
        // to have the system take and give them again. Linux 6.7 and later tells which they are.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(256 * 1024)
        .table_keep_resident(16 * 1024)
        .async_stack_keep_resident(32 * 1024)
        .max_unused_warm_slots(32);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .consume_fuel(options.fuel)
        // Guests check their bounds themselves, and need no guard pages: to move those as memories
        // grow and are used again takes system calls that all threads of a process wait for.
        .signals_based_traps(false)
        .memory_guard_size(0)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(WASM_STACK + HOST_STACK)
        .wasm_component_model(true)
        .wasm_backtrace_max_frames(None);
    config
}
