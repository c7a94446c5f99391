//! Header fields and trailers.

use crate::ChangeError;
use crate::raw::types::Fields;

/// Header fields or trailers, in their order. The case of names makes no difference.
pub struct Headers(pub(crate) Fields);

impl Headers {
    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.get(name)
    }

    /// The first value of a name, if it is text.
    pub fn get_str(&self, name: &str) -> Option<String> {
        self.0
            .get(name)
            .and_then(|value| String::from_utf8(value).ok())
    }

    /// All values of a name, in order.
    pub fn get_all(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.get_all(name)
    }

    /// All values of a name that are text, in order.
    pub fn get_all_str(&self, name: &str) -> Vec<String> {
        let values = self.0.get_all(name).into_iter();
        values
            .filter_map(|value| String::from_utf8(value).ok())
            .collect()
    }

    /// Whether there is a value of a name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.has(name)
    }

    /// All names with their values.
    pub fn entries(&self) -> Vec<(String, Vec<u8>)> {
        self.0.entries()
    }

    /// Puts one value in place of all of a name.
    pub fn set(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), ChangeError> {
        self.0.set(name, value.as_ref())
    }

    /// Puts these values, in this order, in place of all of a name.
    pub fn set_all<V: AsRef<[u8]>>(
        &self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), ChangeError> {
        let values: Vec<Vec<u8>> = values.into_iter().map(|v| v.as_ref().to_vec()).collect();
        self.0.set_all(name, &values)
    }

    /// Adds a value behind those of a name.
    pub fn append(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), ChangeError> {
        self.0.append(name, value.as_ref())
    }

    /// Removes all values of a name; true if there was one.
    pub fn remove(&self, name: &str) -> Result<bool, ChangeError> {
        self.0.delete(name)
    }

    /// The value of a cookie in `cookie` fields (RFC 6265 section 4.2), the first of its name.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.get_all_str("cookie").iter().find_map(|field| {
            field.split(';').find_map(|pair| {
                let (key, value) = pair.trim().split_once('=')?;
                (key == name).then(|| value.trim_matches('"').to_owned())
            })
        })
    }
}
