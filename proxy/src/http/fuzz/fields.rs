//! Header fields: nothing of one connection goes on to the next, nobody passes for another, and
//! what is of neither stays as it was.

use std::{net::IpAddr, time::Duration};

use fleetway_api::{HeaderRules, HttpLimits, HttpListener, PathNormalization, Underscores};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};

use crate::{
    http::{grpc, headers, rules, screen, target::Target},
    route::split_port,
};

/// The fields, one `name:value` in a line; the first byte says by which rules.
///
/// # Panics
/// Where something does not hold.
pub fn headers(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let mut fields = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts
            .next()
            .and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts
            .next()
            .and_then(|value| HeaderValue::from_bytes(value).ok());
        if let (Some(name), Some(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    hop_by_hop(&fields);
    forwarded(&fields, usize::from(first & 3), first & 4 != 0);
    identified(&fields);
    cookies(&fields);
    counted(&fields);
    screened(&fields, *first);
    trailers(&fields);
    target(&fields);
    ruled(&fields, *first);
}

/// Fields of one connection, whether `Connection` names them or not.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

fn listed(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let values = headers.get_all(name).iter();
    let members = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members
        .map(|member| member.trim_ascii().to_ascii_lowercase())
        .filter(|member| !member.is_empty())
        .collect()
}

fn all(headers: &HeaderMap, name: &HeaderName) -> Vec<HeaderValue> {
    headers.get_all(name).iter().cloned().collect()
}

fn hop_by_hop(fields: &HeaderMap) {
    let named = listed(fields, "connection");
    let mut passed = fields.clone();
    let upgrade = headers::remove_hop_by_hop(&mut passed);
    let asked = named.iter().any(|name| name == b"upgrade");
    assert!(upgrade.is_none() || (asked && fields.contains_key(header::UPGRADE)));
    for name in fields.keys() {
        let is_named = named.iter().any(|named| named == name.as_str().as_bytes());
        let stays = ["host", "content-length", "x-request-id"].contains(&name.as_str());
        let of_connection = HOP_BY_HOP.contains(&name.as_str()) || (is_named && !stays);
        if of_connection {
            assert!(!passed.contains_key(name), "{name}");
        } else {
            assert_eq!(all(&passed, name), all(fields, name), "{name}");
        }
    }
    let once = passed.clone();
    assert_eq!(headers::remove_hop_by_hop(&mut passed), None);
    assert_eq!(passed, once);
}

fn forwarded(fields: &HeaderMap, trusted_hops: usize, https: bool) {
    let peer = headers::address(IpAddr::from([192, 0, 2, 7]));
    let client = headers::Client {
        peer: &peer,
        https,
        trusted_hops,
    };
    let authority = HeaderValue::from_static("a.example");
    let mut told = fields.clone();
    headers::add_forwarded(&mut told, client, Some(authority));
    let before = listed(fields, "x-forwarded-for");
    let after = listed(&told, "x-forwarded-for");
    let (last, trusted) = after.split_last().expect("the peer");
    assert_eq!(last, peer.as_bytes());
    assert_eq!(all(&told, &headers::X_FORWARDED_FOR).len(), 1);
    assert_eq!(trusted.len(), before.len().min(trusted_hops));
    assert!(before.ends_with(trusted));
    if trusted_hops == 0 {
        assert!(!told.contains_key(header::FORWARDED));
        let proto = if https { "https" } else { "http" };
        assert_eq!(all(&told, &headers::X_FORWARDED_PROTO), [proto]);
        assert_eq!(all(&told, &headers::X_FORWARDED_HOST), ["a.example"]);
        assert_eq!(headers::is_https(fields, https, 0), https);
    }
    headers::set_client_cert(&mut told, None);
    assert!(!told.contains_key(headers::X_FORWARDED_CLIENT_CERT));
}

fn identified(fields: &HeaderMap) {
    let mut told = fields.clone();
    let id = headers::request_id(&mut told, || 7);
    assert_eq!(all(&told, &headers::X_REQUEST_ID), [&id]);
    assert!((1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
    assert_eq!(headers::request_id(&mut told, || 8), id);
}

fn cookies(fields: &HeaderMap) {
    let mut joined = fields.clone();
    headers::join_cookies(&mut joined);
    let before = all(fields, &header::COOKIE);
    let before: Vec<&[u8]> = before.iter().map(HeaderValue::as_bytes).collect();
    let after = all(&joined, &header::COOKIE);
    assert_eq!(after.len(), before.len().min(1));
    if let [value] = &after[..] {
        assert_eq!(value.as_bytes(), before.join(&b"; "[..]));
    }
}

fn counted(fields: &HeaderMap) {
    for method in [Method::OPTIONS, Method::TRACE, Method::GET] {
        let left = headers::forwards_left(&method, fields);
        let mut spent = fields.clone();
        headers::spend_forward(&method, &mut spent);
        let after = headers::forwards_left(&method, &spent);
        assert_eq!(after, left.map(|left| left.saturating_sub(1)));
        assert!(method != Method::GET || left.is_none());
    }
    let most = Duration::from_secs(15);
    assert!(grpc::shorter(fields, Some(most)).is_some_and(|time| time <= most));
    let takes = headers::takes_trailers(fields);
    assert!(!takes || listed(fields, "te").contains(&b"trailers".to_vec()));
}

fn screened(fields: &HeaderMap, options: u8) {
    let rules = HttpListener {
        idle_timeout: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(1),
        path_normalization: PathNormalization::default(),
        underscores: match options >> 3 & 3 {
            0 => Underscores::Reject,
            1 => Underscores::Drop,
            _ => Underscores::Allow,
        },
        trusted_hops: 0,
        limits: HttpLimits {
            header_bytes: 65_536,
            headers: 10,
            uri_bytes: 1024,
            header_timeout: Duration::from_secs(1),
            requests_per_connection: None,
            concurrent_streams: 1,
        },
        policies: Box::default(),
        request_headers: None,
        response_headers: None,
    };
    let http2 = options & 32 != 0;
    let (mut head, ()) = Request::new(()).into_parts();
    head.version = if http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    head.headers = fields.clone();
    if screen::screen(&mut head, &rules).is_err() {
        return;
    }
    let taken = &head.headers;
    assert!(!http2 || fields.len() <= 10);
    for (name, value) in fields {
        let underscore = name.as_str().contains('_');
        assert!(
            !underscore || rules.underscores != Underscores::Reject,
            "{name}"
        );
        let gone = underscore && rules.underscores == Underscores::Drop;
        assert_eq!(taken.contains_key(name), !gone, "{name}");
        assert!(
            !http2 || gone || value.as_bytes().trim_ascii().len() == value.len(),
            "{name}"
        );
    }
}

fn trailers(fields: &HeaderMap) {
    let mut passed = fields.clone();
    screen::screen_trailers(&mut passed);
    for name in passed.keys() {
        let name = name.as_str();
        assert!(fields.contains_key(name) && !name.contains('_'), "{name}");
        assert!(!HOP_BY_HOP.contains(&name), "{name}");
        let of_the_head = [
            "authorization",
            "content-length",
            "content-type",
            "cookie",
            "expect",
            "forwarded",
            "host",
            "via",
            "x-forwarded-client-cert",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id",
        ];
        assert!(!of_the_head.contains(&name), "{name}");
    }
}

fn target(fields: &HeaderMap) {
    let mut request = Request::new(());
    *request.headers_mut() = fields.clone();
    let Ok(target) = Target::of(&request) else {
        return;
    };
    assert_eq!(all(fields, &header::HOST), [target.authority]);
    let (host, port) = split_port(target.authority);
    assert!(
        !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#', '\\']),
        "{host}"
    );
    assert!(host.starts_with('[') || !host.contains(':'), "{host}");
    let port_valid = |port: &str| port.is_empty() || port.parse::<u64>().is_ok_and(|n| n < 65_536);
    assert!(port.is_none_or(port_valid), "{port:?}");
}

/// Rules made of the fields themselves: of four names one's field is taken out, one's set, one's
/// added to, and one's stays.
fn ruled(fields: &HeaderMap, start: u8) {
    let value = HeaderValue::from_static("by the rules");
    let mut given = HeaderRules {
        remove: Box::default(),
        set: Box::default(),
        add: Box::default(),
    };
    let names: Vec<&HeaderName> = fields.keys().collect();
    let turn = |turn: usize| {
        let names = names.iter().enumerate();
        names
            .filter(move |(index, _)| (index + usize::from(start)) % 4 == turn)
            .map(|(_, name)| (*name).clone())
    };
    given.remove = turn(0).collect();
    given.set = turn(1).map(|name| (name, value.clone())).collect();
    given.add = turn(2).map(|name| (name, value.clone())).collect();
    let mut changed = fields.clone();
    rules::apply(&given, &mut changed);
    for name in names {
        let before = all(fields, name);
        let after = all(&changed, name);
        let is_in =
            |list: &[(HeaderName, HeaderValue)]| list.iter().any(|(other, _)| other == name);
        if given.remove.contains(name) {
            assert!(after.is_empty(), "{name}");
        } else if is_in(&given.set) {
            assert_eq!(after, [&value], "{name}");
        } else if is_in(&given.add) {
            assert_eq!(
                after,
                [&before[..], std::slice::from_ref(&value)].concat(),
                "{name}"
            );
        } else {
            assert_eq!(after, before, "{name}");
        }
    }
    assert!(changed.keys().all(|name| fields.contains_key(name)));
}
