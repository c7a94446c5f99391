//! What a proxy changes in the header fields of the messages it passes on.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, header::Entry};
use uuid::fmt::Hyphenated;

use crate::address::put_ip;

/// `x-forwarded-for`
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `x-forwarded-client-cert`
pub const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// `x-forwarded-host`
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `x-forwarded-proto`
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `x-request-id`
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

type Names = smallvec::SmallVec<[HeaderName; 4]>;

/// Removes what belongs to one connection only: the fields `Connection` names, and those that do
/// whether it names them or not (RFC 9110 section 7.6.1). `TE: trailers` is the caller's to put
/// back, and so is `Upgrade`, which is returned if `Connection` names it.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    remove_of_connection(headers, is_hop_by_hop)
}

/// The same of a message that begins here: what asks for credentials of the client is for it (RFC 9110
/// section 11.7.1).
pub fn remove_connection_specific(headers: &mut HeaderMap) {
    remove_of_connection(headers, is_connection_specific);
}

fn remove_of_connection(
    headers: &mut HeaderMap,
    goes: fn(&HeaderName) -> bool,
) -> Option<HeaderValue> {
    // One look at each is less than a look for each.
    if !headers.keys().any(goes) {
        return None;
    }
    let mut upgrade = None;
    if headers.contains_key(header::CONNECTION) {
        let named: Names = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter_map(field_of)
            // A message cannot have its own address removed, nor the id we told it by.
            .filter(|name| ![header::HOST, header::CONTENT_LENGTH, X_REQUEST_ID].contains(name))
            .collect();
        for name in named {
            let is_upgrade = name == header::UPGRADE;
            let removed = headers.remove(name);
            if is_upgrade {
                upgrade = upgrade.or(removed);
            }
        }
    }
    let left: Names = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in left {
        headers.remove(name);
    }
    upgrade
}

/// Whether there is a field that [`remove_hop_by_hop`] removes.
pub fn has_hop_by_hop(headers: &HeaderMap) -> bool {
    // One look at each is less than a look for each.
    headers.keys().any(is_hop_by_hop)
}

/// Removes a field that most messages do not have.
fn remove_rare(headers: &mut HeaderMap, name: &HeaderName) {
    // To look at each name there is takes less than to look the one up.
    if headers.keys().any(|known| known == name) {
        headers.remove(name);
    }
}

/// The field that an option of `Connection` names, if it can name one. The options that most say
/// are known beforehand.
fn field_of(option: &[u8]) -> Option<HeaderName> {
    match option {
        b"close" => Some(const { HeaderName::from_static("close") }),
        b"keep-alive" => Some(const { HeaderName::from_static("keep-alive") }),
        _ => HeaderName::from_bytes(option).ok(),
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    is_connection_specific(name)
        || matches!(name.as_str(), "proxy-authenticate" | "proxy-authorization")
}

/// Whether a field has no place in HTTP/2 (RFC 9113 section 8.2.2).
fn is_connection_specific(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade"
    )
}

/// Whether the client takes trailers: `TE` has the member `trailers` (RFC 9110 section 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|member| member.trim().eq_ignore_ascii_case("trailers"))
}

/// How many more times an OPTIONS or TRACE request may be forwarded, if it says (RFC 9110 section
/// 7.6.2). With other methods the field means nothing.
pub fn forwards_left(method: &Method, headers: &HeaderMap) -> Option<u64> {
    if *method != Method::OPTIONS && *method != Method::TRACE {
        return None;
    }
    headers
        .get(header::MAX_FORWARDS)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Counts this hop.
pub fn spend_forward(method: &Method, headers: &mut HeaderMap) {
    if let Some(left) = forwards_left(method, headers) {
        let left = HeaderValue::from(left.saturating_sub(1));
        headers.insert(header::MAX_FORWARDS, left);
    }
}

/// Adds this proxy to `Via` (RFC 9110 section 7.6.3).
pub fn add_via(headers: &mut HeaderMap, received: Version) {
    let value = match received {
        Version::HTTP_2 => "2.0 fleetway",
        Version::HTTP_10 => "1.0 fleetway",
        _ => "1.1 fleetway",
    };
    headers.append(header::VIA, HeaderValue::from_static(value));
}

/// Whom a request is from, as far as this proxy knows.
#[derive(Debug, Clone, Copy)]
pub struct Client<'c> {
    /// The other end of the connection: see [`address`].
    pub peer: &'c HeaderValue,
    /// Whether that is over TLS.
    pub https: bool,
    /// How many proxies before this one are believed.
    pub trusted_hops: usize,
}

/// Tells the upstream who asked. Of `X-Forwarded-For` what trusted proxies wrote is kept, and the
/// peer added; `-Proto` and `-Host` are set unless a trusted proxy did. What anyone else claims is
/// taken out.
pub fn add_forwarded(headers: &mut HeaderMap, client: Client<'_>, authority: Option<HeaderValue>) {
    let hops = client.trusted_hops;
    let mut list = Vec::new();
    if hops > 0 {
        for entry in trusted_entries(headers, hops) {
            list.extend_from_slice(entry);
            list.extend_from_slice(b", ");
        }
    }
    let whole = match list.is_empty() {
        true => Ok(client.peer.clone()),
        false => {
            list.extend_from_slice(client.peer.as_bytes());
            HeaderValue::from_maybe_shared(Bytes::from(list))
        }
    };
    if let Ok(value) = whole {
        headers.insert(X_FORWARDED_FOR, value);
    }
    if hops == 0 {
        remove_rare(headers, &header::FORWARDED);
    }
    if hops == 0 || !headers.contains_key(X_FORWARDED_PROTO) {
        let proto = if client.https { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if hops == 0 || !headers.contains_key(X_FORWARDED_HOST) {
        match authority {
            Some(authority) => headers.insert(X_FORWARDED_HOST, authority),
            None => headers.remove(X_FORWARDED_HOST),
        };
    }
}

/// An address as `X-Forwarded-For` has it.
pub fn address(address: IpAddr) -> HeaderValue {
    let mut text = Vec::with_capacity(15);
    put_ip(&mut text, address.to_canonical());
    HeaderValue::from_maybe_shared(Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The last `hops` entries of `X-Forwarded-For`, in their order.
fn trusted_entries(headers: &HeaderMap, hops: usize) -> impl Iterator<Item = &[u8]> {
    let entries: smallvec::SmallVec<[&[u8]; 8]> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
        .collect();
    let untrusted = entries.len().saturating_sub(hops);
    entries.into_iter().skip(untrusted)
}

/// Whether the request came over TLS: to this proxy, or to a trusted one before it that says so.
pub fn is_https(headers: &HeaderMap, here: bool, trusted_hops: usize) -> bool {
    match headers.get(X_FORWARDED_PROTO) {
        Some(proto) if trusted_hops > 0 => proto.as_bytes().eq_ignore_ascii_case(b"https"),
        _ => here,
    }
}

/// Tells the upstream of the client's certificate. What the client said of it itself goes, always.
pub fn set_client_cert(headers: &mut HeaderMap, value: Option<&HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(X_FORWARDED_CLIENT_CERT, value.clone())),
        None => remove_rare(headers, &X_FORWARDED_CLIENT_CERT),
    }
}

/// The request's id: kept if the client gave a usable one, the first of several, else made of
/// `random`. There is one afterwards.
pub fn request_id(headers: &mut HeaderMap, random: impl FnOnce() -> u128) -> HeaderValue {
    const LONGEST: usize = 128;
    let made = || {
        HeaderValue::from_bytes(uuid(random(), &mut [0; Hyphenated::LENGTH]))
            .unwrap_or_else(|_| HeaderValue::from_static("0"))
    };
    match headers.entry(X_REQUEST_ID) {
        Entry::Vacant(none) => none.insert(made()).clone(),
        Entry::Occupied(mut given) => {
            let first = given.get();
            let usable = (1..=LONGEST).contains(&first.len())
                && first.as_bytes().iter().all(u8::is_ascii_graphic);
            let id = if usable { first.clone() } else { made() };
            if !usable || given.iter().nth(1).is_some() {
                given.insert(id.clone());
            }
            id
        }
    }
}

/// Random bits as a UUID of version 4 (RFC 9562 section 5.4).
fn uuid(random: u128, text: &mut [u8]) -> &[u8] {
    let uuid = uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid();
    uuid.hyphenated().encode_lower(text).as_bytes()
}

/// HTTP/2 may split `Cookie` into several fields; HTTP/1.1 has one (RFC 9113 section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let joined: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(value) = HeaderValue::from_bytes(&joined.join(&b"; "[..])) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_belongs_to_one_connection_is_not_passed_on() {
        let mut headers = map(&[
            ("connection", "close, X-Secret, keep-alive"),
            ("connection", "host"),
            ("x-secret", "1"),
            ("close", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("host", "a"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("accept", "*/*")]));
    }

    #[test]
    fn an_odd_member_of_connection_hides_no_other() {
        let mut headers = map(&[("x-secret", "1"), ("x-request-id", "7")]);
        let named = HeaderValue::from_bytes(b"\xff, x-secret, x-request-id").unwrap();
        headers.insert(header::CONNECTION, named);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-request-id", "7")]));
    }

    #[test]
    fn the_client_is_told_of_and_cannot_pose_as_another() {
        let mut headers = map(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
        ]);
        headers.insert(header::FORWARDED, HeaderValue::from_static("for=evil"));
        let host = HeaderValue::from_static("good");
        let peer = address("::ffff:127.0.0.1".parse().unwrap());
        let client = |trusted_hops| Client {
            peer: &peer,
            https: false,
            trusted_hops,
        };
        let mut trusting = headers.clone();
        add_forwarded(&mut headers, client(0), Some(host.clone()));
        assert_eq!(headers[X_FORWARDED_FOR], "127.0.0.1");
        assert_eq!(headers[X_FORWARDED_PROTO], "http");
        assert_eq!(headers[X_FORWARDED_HOST], "good");
        assert!(!headers.contains_key(header::FORWARDED));

        add_forwarded(&mut trusting, client(1), Some(host));
        assert_eq!(trusting[X_FORWARDED_FOR], "10.0.0.2, 127.0.0.1");
        assert_eq!(trusting[X_FORWARDED_PROTO], "https");
        assert_eq!(trusting[X_FORWARDED_HOST], "evil");
        assert!(is_https(&trusting, false, 1) && !is_https(&trusting, false, 0));
    }

    #[test]
    fn a_request_id_is_kept_or_made() {
        let mut headers = map(&[("x-request-id", "abc")]);
        assert_eq!(request_id(&mut headers, || 0), "abc");
        let mut headers = map(&[("x-request-id", "a b")]);
        let made = request_id(&mut headers, || u128::MAX);
        assert_eq!(made, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(headers[X_REQUEST_ID], made);
    }

    #[test]
    fn split_cookies_are_one_field_upstream() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2")]));
    }
}
