//! Encryption of what is secret in the store.
//!
//! A random *data key* encrypts the values. It stands in the store itself, encrypted under the
//! *master key*, which the operator keeps elsewhere. So another master key means one small record
//! written anew, and no value.
//!
//! The cipher is AES-256-GCM-SIV with random nonces: should one ever come twice, it gives away no
//! more than that two values are equal. Every value is bound to its place: moved to another it does
//! not open.

use std::{fmt, path::Path};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use prost::Message;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{StoreError, record::damaged};

const KEY_LEN: usize = 32;
/// What is said about a data key when it is encrypted.
const DATA_KEY: &[u8] = b"fleetway data key ";

/// The key that opens the store's secrets. Shown nowhere, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Zeroizing<[u8; KEY_LEN]>);

/// A text that is no master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no master key, which is 32 bytes in base64: make one with `(umask 077; fleetway-xds generate-key > FILE)`"
)]
pub struct NoMasterKey;

impl MasterKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn generate() -> Result<Self, StoreError> {
        random().map(Self)
    }

    /// Reads it from base64; white space around it does not count.
    ///
    /// # Errors
    /// When that is not 32 bytes. The error does not show the text.
    pub fn from_text(text: &str) -> Result<Self, NoMasterKey> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| NoMasterKey)?);
        let key = bytes.as_slice().try_into().map_err(|_| NoMasterKey)?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// It in base64.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.0.as_slice()))
    }

    /// Tells it from others, and nothing of it.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = Sha256::new()
            .chain_update(b"fleetway master key ")
            .chain_update(self.0.as_slice())
            .finalize();
        digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

/// An encrypted value, as it is stored.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Sealed {
    /// Which data key.
    #[prost(uint64, tag = "1")]
    key: u64,
    #[prost(bytes = "vec", tag = "2")]
    nonce: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    ciphertext: Vec<u8>,
}

/// The data key under a master key, as it is stored.
#[derive(Clone, PartialEq, Message)]
struct Wrapped {
    /// Which master key.
    #[prost(string, tag = "1")]
    master: String,
    #[prost(message, optional, tag = "2")]
    key: Option<Sealed>,
}

/// Encrypts and decrypts values.
pub(super) struct Vault {
    id: u64,
    cipher: RandomizedNonceKey,
    bytes: Zeroizing<[u8; KEY_LEN]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({:016x})", self.id)
    }
}

impl Vault {
    /// One with a new data key.
    pub(super) fn generate() -> Result<Self, StoreError> {
        Self::of(rand::random(), random()?)
    }

    fn of(id: u64, bytes: Zeroizing<[u8; KEY_LEN]>) -> Result<Self, StoreError> {
        let cipher = cipher(&bytes)?;
        Ok(Self { id, cipher, bytes })
    }

    /// Opens the data key of a store with the master key it is under.
    pub(super) fn unwrap(
        wrapped: &[u8],
        master: Option<&MasterKey>,
        dir: &Path,
    ) -> Result<Self, StoreError> {
        let Wrapped { master: under, key } =
            Wrapped::decode(wrapped).map_err(|error| damaged(format_args!("no key ({error})")))?;
        let dir = dir.display();
        let Some(master) = master else {
            return Err(StoreError::Key(format!(
                "the store in {dir} holds secrets and no master key was given: give --master-key-file the file with key {under}"
            )));
        };
        if master.id() != under {
            return Err(StoreError::Key(format!(
                "the secrets of the store in {dir} are under master key {under}, and the one given is {}: give --master-key-file the file with the former, or put them under the latter with `fleetway-xds rotate-key`",
                master.id()
            )));
        }
        let sealed = key.ok_or_else(|| damaged("no key"))?;
        let opened = open(&cipher(&master.0)?, &sealed, DATA_KEY)?;
        let key = opened
            .as_slice()
            .try_into()
            .map_err(|_| damaged("no usable key"))?;
        Self::of(sealed.key, Zeroizing::new(key))
    }

    /// The data key under a master key, to be stored.
    pub(super) fn wrap(&self, master: &MasterKey) -> Result<Vec<u8>, StoreError> {
        let key = self.bytes.to_vec();
        let wrapped = Wrapped {
            master: master.id(),
            key: Some(seal(&cipher(&master.0)?, self.id, key, DATA_KEY)?),
        };
        Ok(wrapped.encode_to_vec())
    }

    /// Encrypts a value for a place.
    pub(super) fn seal(&self, value: Vec<u8>, place: &[u8]) -> Result<Sealed, StoreError> {
        seal(&self.cipher, self.id, value, place)
    }

    /// Decrypts the value of a place.
    pub(super) fn open(
        &self,
        sealed: &Sealed,
        place: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        if sealed.key != self.id {
            return Err(damaged("a secret under a key that it does not hold"));
        }
        open(&self.cipher, sealed, place)
    }
}

/// The master key a wrapped data key is under.
pub(super) fn master_of(wrapped: &[u8]) -> Result<String, StoreError> {
    Wrapped::decode(wrapped)
        .map(|wrapped| wrapped.master)
        .map_err(|error| damaged(format_args!("no key ({error})")))
}

fn random() -> Result<Zeroizing<[u8; KEY_LEN]>, StoreError> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice())
        .map_err(|_| StoreError::Io("the system gives no random bytes".to_owned()))?;
    Ok(bytes)
}

fn cipher(key: &[u8; KEY_LEN]) -> Result<RandomizedNonceKey, StoreError> {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, key)
        .map_err(|_| StoreError::Key("a key of the wrong length".to_owned()))
}

fn seal(
    cipher: &RandomizedNonceKey,
    key: u64,
    mut value: Vec<u8>,
    place: &[u8],
) -> Result<Sealed, StoreError> {
    let nonce = cipher
        .seal_in_place_append_tag(Aad::from(place), &mut value)
        .map_err(|_| StoreError::Key("a secret cannot be encrypted".to_owned()))?;
    Ok(Sealed {
        key,
        nonce: nonce.as_ref().to_vec(),
        ciphertext: value,
    })
}

fn open(
    cipher: &RandomizedNonceKey,
    sealed: &Sealed,
    place: &[u8],
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let unreadable = || damaged("a secret that does not open");
    let nonce: [u8; NONCE_LEN] = sealed
        .nonce
        .as_slice()
        .try_into()
        .map_err(|_| unreadable())?;
    let mut value = Zeroizing::new(sealed.ciphertext.clone());
    let length = cipher
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place),
            &mut value,
        )
        .map_err(|_| unreadable())?
        .len();
    value.truncate(length);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_in_its_place_and_in_no_other() {
        let vault = Vault::generate().unwrap();
        let sealed = vault.seal(b"private".to_vec(), b"one").unwrap();
        assert!(!sealed.ciphertext.windows(7).any(|part| part == b"private"));
        assert_eq!(vault.open(&sealed, b"one").unwrap().as_slice(), b"private");
        assert!(vault.open(&sealed, b"two").is_err());
        let mut touched = sealed.clone();
        touched.ciphertext[3] ^= 1;
        assert!(vault.open(&touched, b"one").is_err());
        assert!(Vault::generate().unwrap().open(&sealed, b"one").is_err());
    }

    #[test]
    fn the_data_key_comes_back_under_its_master_key_only() {
        let (one, two) = (
            MasterKey::generate().unwrap(),
            MasterKey::generate().unwrap(),
        );
        let vault = Vault::generate().unwrap();
        let sealed = vault.seal(b"private".to_vec(), b"").unwrap();
        let wrapped = vault.wrap(&one).unwrap();
        assert_eq!(master_of(&wrapped).unwrap(), one.id());
        let dir = Path::new("dir");
        let again = Vault::unwrap(&wrapped, Some(&one), dir).unwrap();
        assert_eq!(again.open(&sealed, b"").unwrap().as_slice(), b"private");
        for key in [None, Some(&two)] {
            let error = Vault::unwrap(&wrapped, key, dir).unwrap_err();
            assert!(error.to_string().contains(&one.id()), "{error}");
        }
    }

    #[test]
    fn a_master_key_survives_its_text_and_shows_itself_nowhere() {
        let key = MasterKey::generate().unwrap();
        let text = key.to_text();
        assert_eq!(
            MasterKey::from_text(&format!(" {}\n", *text)),
            Ok(key.clone())
        );
        assert!(!format!("{key:?}").contains(&**text));
        for wrong in ["", "AAAA", "not base64!"] {
            assert_eq!(MasterKey::from_text(wrong), Err(NoMasterKey));
        }
    }
}
