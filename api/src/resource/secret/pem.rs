//! Texts in PEM (RFC 7468): of what a field is given, only the blocks it is for are kept.

use fleetway_proto::v1;

use super::{AUTHORITIES, CHAIN, Secret, revocation::CRLS};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const CERTIFICATE: &str = "CERTIFICATE";
const LIST: &str = "X509 CRL";
/// The longest label a fault names: what is longer is none, and may be what nobody is to read.
const MAX_LABEL: usize = 40;

impl Secret {
    /// Takes the text outside of blocks out of the public fields, such as comments and what
    /// `openssl x509 -text` writes.
    ///
    /// # Errors
    /// The fields with blocks of another kind than they are for, a private key above all: what is
    /// in them is shown to everyone who may read. Nothing is changed then.
    pub(crate) fn tidy(message: &mut v1::Secret) -> Result<(), Vec<(String, String)>> {
        let mut faults = Vec::new();
        each_public(message, |field, text, label| {
            let other = labels(text).find(|found| *found != label);
            faults.extend(other.map(|found| (field.to_owned(), misplaced(found))));
        });
        if faults.is_empty() {
            Self::drop_unmeant(message);
            Ok(())
        } else {
            Err(faults)
        }
    }

    /// Takes everything but the blocks meant out of the public fields: text and blocks of other
    /// kinds, which a secret may hold that was stored when they were still taken.
    pub fn drop_unmeant(message: &mut v1::Secret) {
        each_public(message, |_, text, label| {
            if let Some(kept) = kept(text, label) {
                *text = kept;
            }
        });
    }
}

/// The public fields, each with the label of its blocks.
fn each_public(
    message: &mut v1::Secret,
    mut visit: impl FnMut(&'static str, &mut String, &'static str),
) {
    match &mut message.kind {
        Some(v1::secret::Kind::Certificate(certificate)) => {
            visit(CHAIN, &mut certificate.chain, CERTIFICATE);
        }
        Some(v1::secret::Kind::Ca(bundle)) => {
            visit(AUTHORITIES, &mut bundle.certificates, CERTIFICATE);
            if let Some(crls) = &mut bundle.crls {
                visit(CRLS, crls, LIST);
            }
        }
        None => {}
    }
}

/// The labels of everything that looks like the beginning of a block, wherever it stands.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.split(BEGIN).skip(1).map(|rest| {
        let line = rest.split(['\n', '\r']).next().unwrap_or_default();
        line.split(DASHES).next().unwrap_or_default()
    })
}

fn misplaced(label: &str) -> String {
    let named = label.len() <= MAX_LABEL
        && label
            .bytes()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b' ');
    if label.contains("PRIVATE KEY") {
        "holds a private key: put it into `private_key` of a `certificate` alone, and take it for known to others if this was ever shown".to_owned()
    } else if label == LIST {
        "holds a revocation list, which would not be looked at: put it into `ca.crls`".to_owned()
    } else if label == CERTIFICATE {
        "holds a certificate: put it into `ca.certificates`".to_owned()
    } else if named {
        format!("holds a block of another kind, {label}: take it out")
    } else {
        "holds a block of another kind: take it out".to_owned()
    }
}

/// The blocks of one label; `None` if the text has no block at all, and so nothing to keep. A block
/// without an end is kept up to the next beginning, for the one who reads it to name.
fn kept(text: &str, label: &str) -> Option<String> {
    let mut kept = String::new();
    let mut some = false;
    let mut inside: Option<&str> = None;
    for line in text.split(['\n', '\r']).map(str::trim_end) {
        if let Some(begun) = line.strip_prefix(BEGIN) {
            some = true;
            inside = Some(begun.trim_end_matches('-'));
        }
        let Some(begun) = inside else { continue };
        let ends = line
            .strip_prefix(END)
            .and_then(|rest| rest.strip_prefix(begun))
            .is_some_and(|rest| rest.starts_with(DASHES));
        if begun == label && ends {
            // Not what stands behind the end, on the same line.
            kept.extend([END, label, DASHES, "\n"]);
        } else if begun == label && !line.is_empty() {
            kept.extend([line, "\n"]);
        }
        if ends {
            inside = None;
        }
    }
    some.then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nsesame\n-----END PRIVATE KEY-----\n";

    #[test]
    fn only_the_blocks_meant_are_kept() {
        let windows = ONE.replace('\n', "\r\n");
        for (text, want) in [
            (ONE.to_owned(), ONE.to_owned()),
            (windows, ONE.to_owned()),
            (
                format!("a comment\n{ONE}\nhunter2\n{ONE}sesame"),
                format!("{ONE}{ONE}"),
            ),
            (format!("{KEY}{ONE}{KEY}"), ONE.to_owned()),
            (format!("{} sesame\n", ONE.trim_end()), ONE.to_owned()),
            (KEY.to_owned(), String::new()),
        ] {
            assert_eq!(kept(&text, CERTIFICATE).unwrap(), want, "{text}");
            assert_eq!(kept(&want, CERTIFICATE).unwrap_or_default(), want);
        }
        assert_eq!(kept("hello", CERTIFICATE), None);
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert_eq!(
            kept(&format!("{torn}{ONE}"), CERTIFICATE).unwrap(),
            format!("{torn}{ONE}")
        );
    }

    #[test]
    fn labels_are_found_wherever_they_stand() {
        let hidden = format!("{ONE}  {KEY}");
        let found: Vec<&str> = labels(&hidden).collect();
        assert_eq!(found, [CERTIFICATE, "PRIVATE KEY"]);
        assert_eq!(
            misplaced("my password is sesame"),
            "holds a block of another kind: take it out"
        );
    }
}
