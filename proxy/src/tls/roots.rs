//! The certificate authorities of the machine.

use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;

/// The machine has no authorities that could be believed.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "this machine has no certificate authorities of its own{0}: install them (ca-certificates) and start the proxy anew, or name a secret that has them"
)]
pub struct NoRoots(Arc<str>);

/// Those of the machine, read once, when they are first asked for.
///
/// # Errors
/// When there are none.
pub(super) fn of_machine() -> Result<Arc<RootCertStore>, NoRoots> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, NoRoots>> = OnceLock::new();
    ROOTS.get_or_init(read).clone()
}

fn read() -> Result<Arc<RootCertStore>, NoRoots> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})"));
        return Err(NoRoots(why.unwrap_or_default().into()));
    }
    tracing::debug!(authorities = roots.len(), "read those of the machine");
    Ok(Arc::new(roots))
}
