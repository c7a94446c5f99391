//! Field names as they come.

use http::HeaderName;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL,
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, ETAG, HOST,
    IF_NONE_MATCH, LAST_MODIFIED, ORIGIN, REFERER, SERVER, SET_COOKIE, TRANSFER_ENCODING,
    USER_AGENT, VARY,
};

/// The name that `bytes` are, if they are one. Those that most heads have, written as most write
/// them, are told without a look at each byte for itself.
pub(super) fn read(bytes: &[u8]) -> Option<HeaderName> {
    usual(bytes).or_else(|| HeaderName::from_bytes(bytes).ok())
}

fn usual(bytes: &[u8]) -> Option<HeaderName> {
    Some(match bytes {
        b"Accept" | b"accept" => ACCEPT,
        b"Accept-Encoding" | b"accept-encoding" => ACCEPT_ENCODING,
        b"Accept-Language" | b"accept-language" => ACCEPT_LANGUAGE,
        b"Accept-Ranges" | b"accept-ranges" => ACCEPT_RANGES,
        b"Authorization" | b"authorization" => AUTHORIZATION,
        b"Cache-Control" | b"cache-control" => CACHE_CONTROL,
        b"Connection" | b"connection" => CONNECTION,
        b"Content-Encoding" | b"content-encoding" => CONTENT_ENCODING,
        b"Content-Length" | b"content-length" => CONTENT_LENGTH,
        b"Content-Type" | b"content-type" => CONTENT_TYPE,
        b"Cookie" | b"cookie" => COOKIE,
        b"Date" | b"date" => DATE,
        b"ETag" | b"Etag" | b"etag" => ETAG,
        b"Host" | b"host" => HOST,
        b"If-None-Match" | b"if-none-match" => IF_NONE_MATCH,
        b"Last-Modified" | b"last-modified" => LAST_MODIFIED,
        b"Origin" | b"origin" => ORIGIN,
        b"Referer" | b"referer" => REFERER,
        b"Server" | b"server" => SERVER,
        b"Set-Cookie" | b"set-cookie" => SET_COOKIE,
        b"Transfer-Encoding" | b"transfer-encoding" => TRANSFER_ENCODING,
        b"User-Agent" | b"user-agent" => USER_AGENT,
        b"Vary" | b"vary" => VARY,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spellings of a name: with capitals at the front of each word, in small letters and in capitals.
    fn spellings(name: &str) -> [String; 3] {
        let words = name.split('-').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        let canonical = words.collect::<Vec<_>>().join("-");
        [canonical, name.to_owned(), name.to_uppercase()]
    }

    #[test]
    fn a_name_is_the_same_however_it_is_told() {
        let mut told = 0;
        for name in [
            "accept",
            "accept-encoding",
            "accept-language",
            "accept-ranges",
            "authorization",
            "cache-control",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "date",
            "etag",
            "host",
            "if-none-match",
            "last-modified",
            "origin",
            "referer",
            "server",
            "set-cookie",
            "transfer-encoding",
            "user-agent",
            "vary",
            "x-custom",
        ] {
            for spelling in spellings(name) {
                let known = usual(spelling.as_bytes());
                told += usize::from(known.is_some());
                assert!(known.is_none_or(|known| known == name), "{spelling}");
                assert_eq!(read(spelling.as_bytes()).unwrap(), name, "{spelling}");
            }
        }
        assert_eq!(told, 2 * 23);
    }

    #[test]
    fn what_is_no_name_is_none() {
        for bytes in [&b""[..], b"a b", b"host:", b"\xff", b"a\0"] {
            assert!(read(bytes).is_none(), "{}", bytes.escape_ascii());
        }
    }
}
