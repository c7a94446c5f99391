//! What the proxy lends to policies.

/// The time.
pub mod clock {
    use std::time::Duration;

    use crate::raw;

    /// What time it is, as the time since 1970.
    pub fn now() -> Duration {
        raw::clock::now().into()
    }

    /// A clock that never goes back. Its zero means nothing.
    pub fn monotonic() -> Duration {
        Duration::from_nanos(raw::clock::monotonic())
    }
}

/// Randomness that is fit for secrets.
pub mod random {
    use crate::raw;

    /// So many bytes, at most 64 KiB; more ends the call.
    pub fn bytes(length: u32) -> Vec<u8> {
        raw::random::bytes(length)
    }

    /// A number.
    pub fn number() -> u64 {
        raw::random::number()
    }
}

/// The request's line in the access log.
pub mod access_log {
    use crate::raw;

    /// Adds a field to it, under the policy's name. False if there is no room: see the ABI for the
    /// bounds.
    pub fn annotate(key: &str, value: &str) -> bool {
        raw::log::annotate(key, value)
    }
}

/// Figures on the proxy's metrics page, as `fleetway_policy_custom_NAME{policy="…"}`.
///
/// A policy has at most 100 series: what would be one more is left out.
pub mod metrics {
    use crate::raw;

    fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Adds to a counter. By convention its name ends in `_total`.
    pub fn increment(name: &str, labels: &[(&str, &str)], by: u64) {
        raw::metrics::increment(name, &owned(labels), by);
    }

    /// Sets a gauge.
    pub fn set(name: &str, labels: &[(&str, &str)], value: f64) {
        raw::metrics::set(name, &owned(labels), value);
    }

    /// Takes a value down in a histogram, in seconds.
    pub fn observe(name: &str, labels: &[(&str, &str)], value: f64) {
        raw::metrics::observe(name, &owned(labels), value);
    }
}

/// Notes that go with a request from policy to policy and stage to stage.
pub mod metadata {
    use crate::raw;

    /// What a policy, by its name, has noted.
    pub fn get(policy: &str, key: &str) -> Option<Vec<u8>> {
        raw::metadata::get(policy, key)
    }

    /// What a policy has noted, if it is text.
    pub fn get_str(policy: &str, key: &str) -> Option<String> {
        get(policy, key).and_then(|value| String::from_utf8(value).ok())
    }

    /// What this policy has noted, here or at an earlier stage.
    pub fn own(key: &str) -> Option<Vec<u8>> {
        get(&crate::policy_name(), key)
    }

    /// What this policy has noted, if it is text.
    pub fn own_str(key: &str) -> Option<String> {
        get_str(&crate::policy_name(), key)
    }

    /// Notes something. False if there is no room.
    pub fn set(key: &str, value: impl AsRef<[u8]>) -> bool {
        raw::metadata::set(key, value.as_ref())
    }

    /// Takes a note of this policy's away; true if there was one.
    pub fn delete(key: &str) -> bool {
        raw::metadata::delete(key)
    }
}

/// Values all calls of a policy share on one proxy, until it is restarted.
pub mod key_value {
    use std::time::Duration;

    pub use crate::abi::imports::fleetway::policy::key_value::{Entry, SetError};
    use crate::raw;

    /// A value with its version.
    pub fn get(key: &str) -> Option<Entry> {
        raw::key_value::get(key)
    }

    /// Puts a value there, for a time or until it is deleted. Gives its version.
    pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<u64, SetError> {
        raw::key_value::set(key, value.as_ref(), ttl.map(milliseconds))
    }

    /// The same where the value there is of this version, or, with none, where there is no value.
    pub fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: impl AsRef<[u8]>,
        ttl: Option<Duration>,
    ) -> Result<u64, SetError> {
        raw::key_value::compare_and_set(key, expected, value.as_ref(), ttl.map(milliseconds))
    }

    /// Deletes a value; true if there was one.
    pub fn delete(key: &str) -> bool {
        raw::key_value::delete(key)
    }

    fn milliseconds(ttl: Duration) -> u64 {
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Requests of the policy's own, to the clusters its `Policy` resource grants it (`http.clusters`).
///
/// ```
/// use fleetway_policy::{Error, http_client};
///
/// fn is_known(token: &str) -> Result<bool, Error> {
///     let asked = http_client::get("auth", "/check").header("authorization", token);
///     Ok(asked.send()?.status == 204)
/// }
/// ```
pub mod http_client {
    use std::time::Duration;

    pub use crate::abi::imports::fleetway::policy::http_client::{
        IncomingResponse, OutgoingRequest, SendError,
    };
    use crate::raw;

    /// A request with this method, to a cluster, for a path with its query.
    pub fn request(method: &str, cluster: &str, path_with_query: &str) -> OutgoingRequest {
        OutgoingRequest {
            cluster: cluster.to_owned(),
            method: method.to_owned(),
            path_with_query: path_with_query.to_owned(),
            authority: None,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
        }
    }

    /// A `GET`.
    pub fn get(cluster: &str, path_with_query: &str) -> OutgoingRequest {
        request("GET", cluster, path_with_query)
    }

    impl OutgoingRequest {
        /// Adds a header field.
        #[must_use]
        pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
            self.headers
                .push((name.to_owned(), value.as_ref().to_vec()));
            self
        }

        /// Sets its body.
        #[must_use]
        pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
            self.body = body.into();
            self
        }

        /// Sets its host; without, it is the cluster's name.
        #[must_use]
        pub fn authority(mut self, authority: &str) -> Self {
            self.authority = Some(authority.to_owned());
            self
        }

        /// Gives it less time than the policy's `http.timeout`.
        #[must_use]
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.timeout = Some(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
            self
        }

        /// Sends it and waits for the whole response, whatever its status.
        pub fn send(&self) -> Result<IncomingResponse, SendError> {
            raw::http_client::send(self)
        }
    }

    impl IncomingResponse {
        /// The first value of a header field, if it is text.
        pub fn header(&self, name: &str) -> Option<&str> {
            let field = |(there, _): &&(String, Vec<u8>)| there.eq_ignore_ascii_case(name);
            let (_, value) = self.headers.iter().find(field)?;
            std::str::from_utf8(value).ok()
        }
    }
}
