//! The macros of the `log` crate, and panics, into the proxy's log.

use crate::abi::imports::fleetway::policy::log::Level;
use crate::raw;

struct Proxy;

impl log::Log for Proxy {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        raw::log::write(level, &record.args().to_string());
    }

    fn flush(&self) {}
}

/// Sends what is logged to the proxy. Once is enough; more does no harm.
pub(crate) fn install() {
    if log::set_logger(&Proxy).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
        // The trap a panic ends in does not carry its message.
        #[cfg(target_family = "wasm")]
        std::panic::set_hook(Box::new(|panic| {
            raw::log::write(Level::Error, &panic.to_string());
        }));
    }
}
