//! What is looked at before anything else about a request: its path in one form, its fields
//! without what others might read differently.

use fleetway_api::{HttpListener, Underscores};
use http::{HeaderMap, HeaderName, Uri, Version, header, request::Parts, uri::PathAndQuery};

use super::{Failure, headers, normalize};

/// Brings a request into the form that routes, policies and the upstream see.
///
/// # Errors
/// When it can be read in more than one way.
pub(super) fn screen(head: &mut Parts, rules: &HttpListener) -> Result<(), Failure> {
    if let Some(uri) = normalized(&head.uri, rules)? {
        head.uri = uri;
    }
    let version = head.version;
    if version == Version::HTTP_2 {
        // Over HTTP/1 the codec has looked already.
        let limits = &rules.limits;
        let target = head.uri.path_and_query();
        let target = target.map_or(0, |target| target.as_str().len());
        if target > usize::try_from(limits.uri_bytes).unwrap_or(usize::MAX) {
            return Err(Failure::UriTooLong);
        }
        if head.headers.len() > usize::try_from(limits.headers).unwrap_or(usize::MAX) {
            return Err(Failure::HeadTooLarge);
        }
    }
    let fields = &mut head.headers;
    if version == Version::HTTP_2 && fields.values().any(|value| is_padded(value.as_bytes())) {
        // RFC 9113 section 8.2.1; an HTTP/1.1 upstream would not see the blanks.
        return Err(Failure::BadRequest(
            "a field value begins or ends with a blank",
        ));
    }
    match rules.underscores {
        Underscores::Allow => {}
        Underscores::Reject => {
            if fields.keys().any(has_underscore) {
                return Err(Failure::BadRequest(
                    "a field name has an underscore, which this listener does not take",
                ));
            }
        }
        Underscores::Drop => drop_underscores(fields),
    }
    Ok(())
}

/// The request's target with its path in normal form, if that is another.
fn normalized(uri: &Uri, rules: &HttpListener) -> Result<Option<Uri>, Failure> {
    let path = uri.path();
    // `*` and the authority of CONNECT are no paths.
    if !path.starts_with('/') {
        return Ok(None);
    }
    let normal = match normalize(path, &rules.path_normalization) {
        Ok(std::borrow::Cow::Borrowed(_)) => return Ok(None),
        Ok(std::borrow::Cow::Owned(normal)) => normal,
        Err(fault) => return Err(Failure::Path(fault)),
    };
    let target = match uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal,
    };
    let no_path = |_| Failure::BadRequest("the request target is no target");
    let mut parts = uri.clone().into_parts();
    let target = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target));
    parts.path_and_query = Some(target.map_err(no_path)?);
    Uri::from_parts(parts)
        .map(Some)
        .map_err(|_| Failure::BadRequest("the request target is no target"))
}

fn is_padded(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    blank(value.first()) || blank(value.last())
}

fn has_underscore(name: &HeaderName) -> bool {
    // Names are short: going through them is less than getting ready to search them.
    name.as_str().bytes().any(|byte| byte == b'_')
}

fn drop_underscores(fields: &mut HeaderMap) {
    let named: smallvec::SmallVec<[HeaderName; 2]> = fields
        .keys()
        .filter(|name| has_underscore(name))
        .cloned()
        .collect();
    for name in named {
        fields.remove(name);
    }
}

/// Takes out of a request's trailers what an upstream that merges them with the fields of the head
/// could be deceived by (RFC 9110 section 6.5.1).
pub(super) fn screen_trailers(trailers: &mut HeaderMap) {
    headers::remove_hop_by_hop(trailers);
    drop_underscores(trailers);
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::TRAILER,
        header::AUTHORIZATION,
        header::COOKIE,
        header::EXPECT,
        header::RANGE,
        header::MAX_FORWARDS,
        header::CACHE_CONTROL,
        header::FORWARDED,
        header::VIA,
        headers::X_FORWARDED_CLIENT_CERT,
        headers::X_FORWARDED_FOR,
        headers::X_FORWARDED_HOST,
        headers::X_FORWARDED_PROTO,
        headers::X_REQUEST_ID,
    ] {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn rules() -> HttpListener {
        let message = fleetway_api::proto::v1::Listener {
            name: "web".into(),
            address: "127.0.0.1:0".into(),
            protocol: Some(fleetway_api::proto::v1::listener::Protocol::Http(
                fleetway_api::proto::v1::HttpListener::default(),
            )),
            ..Default::default()
        };
        let resource = fleetway_api::Resource::read(fleetway_api::proto::v1::Resource {
            kind: Some(fleetway_api::proto::v1::resource::Kind::Listener(message)),
        });
        match resource.unwrap() {
            fleetway_api::Resource::Listener(listener) => match listener.protocol {
                fleetway_api::Protocol::Http(http) => http,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn screened(uri: &str, rules: &HttpListener) -> Result<String, String> {
        let (mut head, ()) = Request::get(uri).body(()).unwrap().into_parts();
        screen(&mut head, rules).map_err(|failure| failure.to_string())?;
        Ok(head.uri.to_string())
    }

    #[test]
    fn the_path_is_normal_and_the_query_stays() {
        for (given, expected) in [
            ("/a/../b?x=/../%2f", "/b?x=/../%2f"),
            ("http://host/a//b?", "http://host/a/b?"),
            ("*", "*"),
        ] {
            assert_eq!(screened(given, &rules()), Ok(expected.to_owned()));
        }
        let told = screened("/a%2fb", &rules()).unwrap_err();
        assert!(told.contains("encoded slash"), "{told}");
    }

    #[test]
    fn underscores_are_refused_dropped_or_allowed() {
        let with = |underscores| HttpListener {
            underscores,
            ..rules()
        };
        for (underscores, expected) in [
            (Underscores::Reject, None),
            (Underscores::Drop, Some(1)),
            (Underscores::Allow, Some(2)),
        ] {
            let mut request = Request::get("/").header("x_a", "1").header("x-a", "2");
            request = request.header("x_a", "3");
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            let left = screen(&mut head, &with(underscores)).ok();
            assert_eq!(left.map(|()| head.headers.keys_len()), expected);
        }
    }

    #[test]
    fn blanks_around_values_are_no_values_over_http2() {
        let request = Request::get("/").version(Version::HTTP_2).body(());
        let (mut head, ()) = request.unwrap().into_parts();
        let padded = HeaderValue::from_bytes(b"chunked ").unwrap();
        head.headers.insert("x-a", padded);
        assert!(screen(&mut head, &rules()).is_err());
    }

    #[test]
    fn trailers_pose_as_nothing_of_the_head() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-client-cert",
            "host",
            "authorization",
            "x-checksum",
        ] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        screen_trailers(&mut trailers);
        assert_eq!(trailers.len(), 1);
        assert!(trailers.contains_key("x-checksum"));
    }
}
