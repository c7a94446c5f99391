//! Secrets without their private parts: how they are shown, and how they are written back.

use fleetway_proto::v1;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{KEY, Secret};
use crate::{FieldError, Resource, resource::component::WASM};

/// What stands in a redacted text's place begins with this.
const REDACTED: &str = "[redacted";

/// Whether a text is only the sign of one that was left out.
pub(super) fn is_redacted(text: &str) -> bool {
    text.trim_start().starts_with(REDACTED)
}

/// The sign of a private text: tells two apart, and nothing of what they say. For texts nobody can
/// guess, as keys are.
fn sign(private: &str) -> String {
    let digest = Sha256::digest(private.trim().as_bytes());
    let short: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{REDACTED} sha256:{short}]")
}

/// The private part of a secret, if it has one.
fn private(message: &v1::Secret) -> Option<&String> {
    match message.kind.as_ref()? {
        v1::secret::Kind::Certificate(certificate) => Some(&certificate.private_key),
        v1::secret::Kind::Ca(_) => None,
    }
}

fn private_mut(message: &mut v1::Secret) -> Option<&mut String> {
    match message.kind.as_mut()? {
        v1::secret::Kind::Certificate(certificate) => Some(&mut certificate.private_key),
        v1::secret::Kind::Ca(_) => None,
    }
}

/// The secret with signs in place of its private parts, and nothing beside the blocks meant in its
/// public ones.
#[must_use]
pub fn redacted(message: &v1::Secret) -> v1::Secret {
    let mut shown = message.clone();
    Secret::drop_unmeant(&mut shown);
    if let Some(text) = private_mut(&mut shown)
        && !text.is_empty()
        && !is_redacted(text)
    {
        let private = Zeroizing::new(std::mem::take(text));
        *text = sign(&private);
    }
    shown
}

/// Why a sign stands for no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unkept {
    /// There is no key.
    #[error("is only the sign that a key was left out, and there is none to keep: give the key")]
    Absent,
    /// It is the sign of another key.
    #[error(
        "is the sign of another key than the one there is: give the key, or read the secret again and redo the change"
    )]
    Other,
}

impl Unkept {
    /// It as a fault of the secret.
    #[must_use]
    pub fn fault(self, resource: impl ToString) -> FieldError {
        FieldError::new(resource.to_string(), KEY, self.to_string())
    }
}

impl Secret {
    /// Whether a private part of the message is a sign, which stands for what there is.
    #[must_use]
    pub fn has_sign(message: &v1::Secret) -> bool {
        private(message).is_some_and(|text| is_redacted(text))
    }

    /// Puts the private part of `stored` in place of its sign, or of the same written otherwise.
    /// Any other is left as it is.
    ///
    /// # Errors
    /// When the sign is not that of what is stored.
    pub fn keep(message: &mut v1::Secret, stored: Option<&v1::Secret>) -> Result<(), Unkept> {
        let Some(text) = private_mut(message) else {
            return Ok(());
        };
        match (is_redacted(text), stored.and_then(private)) {
            (true, None) => return Err(Unkept::Absent),
            (true, Some(kept)) if text.trim() != sign(kept) => return Err(Unkept::Other),
            (false, Some(kept)) if text.trim() != kept.trim() => {}
            (_, Some(kept)) => text.clone_from(kept),
            (false, None) => {}
        }
        Ok(())
    }
}

impl Resource {
    /// Validates a message that is to be sent to a server as far as that can be done without it:
    /// in place of a key there may be its sign, and a component may be without its bytes: the server
    /// keeps what there is.
    ///
    /// # Errors
    /// All faults, each with the field's path.
    pub fn check(message: v1::Resource) -> Result<(), Vec<FieldError>> {
        let signed = matches!(&message.kind,
            Some(v1::resource::Kind::Secret(secret)) if Secret::has_sign(secret));
        let bare = matches!(&message.kind,
            Some(v1::resource::Kind::Component(component)) if component.wasm.is_empty());
        let Err(mut faults) = Self::read(message) else {
            return Ok(());
        };
        // That it is a sign is the only thing wrong with a sign.
        faults.retain(|fault| !(signed && fault.field == KEY || bare && fault.field == WASM));
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}
