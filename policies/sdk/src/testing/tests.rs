use std::io::{Read, Write};

use crate::prelude::*;
use crate::testing::{self, Proxy};
use crate::{ChangeError, access_log, clock, key_value, metadata, metrics, random};
use std::time::Duration;

#[test]
fn fields_keep_their_order_and_their_values_together() {
    let request = testing::request("GET", "/")
        .header("A", "1")
        .header("b", "2")
        .header("a", "3");
    let headers = request.view().headers();
    assert_eq!(headers.get_all_str("a"), ["1", "3"]);
    assert_eq!(
        headers
            .entries()
            .iter()
            .map(|(n, _)| n.as_str())
            .collect::<String>(),
        "aab"
    );
    headers.set_all("b", ["x", "y"]).unwrap();
    headers.append("B", "z").unwrap();
    assert_eq!(headers.get_all_str("b"), ["x", "y", "z"]);
    assert!(headers.remove("B").unwrap());
    assert!(!headers.contains("b"));
}

#[test]
fn a_change_that_a_proxy_refuses_is_refused() {
    let request = testing::request("GET", "/");
    let headers = request.view().headers();
    assert!(matches!(
        headers.set("a b", "x"),
        Err(ChangeError::Invalid(_))
    ));
    assert!(matches!(
        headers.set("a", "x\n"),
        Err(ChangeError::Invalid(_))
    ));
    assert_eq!(headers.set("Host", "x"), Err(ChangeError::Forbidden));
    assert!(matches!(
        request.view().set_path("x"),
        Err(ChangeError::Invalid(_))
    ));
    let sent = testing::request("GET", "/").sent();
    assert_eq!(
        sent.view().headers().set("a", "x"),
        Err(ChangeError::ReadOnly)
    );
    assert_eq!(sent.view().set_method("PUT"), Err(ChangeError::ReadOnly));
    assert!(testing::response(200).view().set_status(100).is_err());
}

#[test]
fn a_request_is_changed_through_its_view() {
    let request = testing::request("GET", "/a?b=c");
    assert_eq!(request.view().path_with_query(), "/a?b=c");
    request.view().set_query(None).unwrap();
    request.view().set_path("/d").unwrap();
    request.view().set_authority("example.org:81").unwrap();
    assert_eq!(request.view().path_with_query(), "/d");
    assert_eq!(request.view().authority(), "example.org:81");
}

#[test]
fn cookies_are_found_by_name() {
    let request = testing::request("GET", "/")
        .header("cookie", "a=1; b=\"2\"")
        .header("cookie", "c=3");
    let cookie = |name| request.view().headers().cookie(name);
    assert_eq!(
        (cookie("a"), cookie("b")),
        (Some("1".into()), Some("2".into()))
    );
    assert_eq!((cookie("c"), cookie("d")), (Some("3".into()), None));
}

#[test]
fn a_body_is_read_across_its_chunks_and_written_in_pieces_the_proxy_takes() {
    let big = vec![b'x'; 3 << 20];
    let out = testing::transform(["ab", "", "cdef"], |mut body, mut out| {
        let mut three = [0; 3];
        body.read_exact(&mut three)?;
        assert_eq!(&three, b"abc");
        assert_eq!(body.chunk().as_deref(), Some(&b"def"[..]));
        assert_eq!(body.chunk(), None);
        out.write_all(&big)?;
        Ok(())
    });
    assert_eq!(out.unwrap().len(), big.len());
}

#[test]
fn trailers_are_there_once_the_body_is_read() {
    let trailers = [("x-sum", "1")];
    let (body, trailers) =
        testing::transform_with_trailers(["a"], &trailers, |mut body, mut out| {
            assert!(body.trailers().is_none());
            for chunk in body.chunks() {
                out.write_all(&chunk)?;
            }
            body.trailers().unwrap().set("x-sum", "2")?;
            Ok(())
        })
        .unwrap();
    assert_eq!(body, b"a");
    assert_eq!(trailers.unwrap().get_str("x-sum").unwrap(), "2");
}

#[test]
fn what_a_proxy_lends_is_there() {
    Proxy::set_now(Duration::from_secs(7));
    Proxy::advance(Duration::from_secs(1));
    assert_eq!(
        (clock::now(), clock::monotonic()),
        (Duration::from_secs(8), Duration::from_secs(1))
    );
    assert_eq!(random::bytes(11).len(), 11);

    Proxy::note("other", "k", "v");
    assert_eq!(metadata::get_str("other", "k").unwrap(), "v");
    assert!(metadata::set("mine", "1") && !metadata::set("big", vec![0; 64 << 10]));
    assert_eq!(Proxy::noted("mine").unwrap(), b"1");
    assert!(metadata::delete("mine") && !metadata::delete("mine"));

    metrics::increment("seen_total", &[("a", "b")], 2);
    metrics::set("level", &[], 1.5);
    assert_eq!(
        (Proxy::counter("seen_total"), Proxy::gauge("level", &[])),
        (2, Some(1.5))
    );
    assert!(access_log::annotate("k", "v"));
    assert_eq!(Proxy::annotations(), [("k".to_owned(), "v".to_owned())]);
}

#[test]
fn shared_values_expire_and_are_compared() {
    let first = key_value::set("k", "1", Some(Duration::from_secs(1))).unwrap();
    assert_eq!(
        key_value::compare_and_set("k", None, "2", None),
        Err(key_value::SetError::Changed)
    );
    let second = key_value::compare_and_set("k", Some(first), "2", Some(Duration::from_secs(1)));
    assert!(second.unwrap() > first);
    Proxy::advance(Duration::from_secs(1));
    assert!(key_value::get("k").is_none());
    assert!(key_value::compare_and_set("k", None, "3", None).is_ok());
    assert!(key_value::delete("k") && !key_value::delete("k"));
}

struct Defaults;

impl Policy for Defaults {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, Vec<Fault>> {
        log::info!("made");
        Ok(Self)
    }
}

impl PreRoute for Defaults {}
impl PreUpstream for Defaults {}
impl PostResponse for Defaults {}
impl RequestBody for Defaults {}
impl ResponseBody for Defaults {}
crate::export!(Defaults: pre_route, pre_upstream, post_response, request_body, response_body);

#[test]
fn a_stage_without_anything_lets_everything_pass() {
    let mut policy: Defaults = testing::policy("{}").unwrap();
    assert_eq!(Proxy::log(), [(log::Level::Info, "made".to_owned())]);
    let (request, response) = (testing::request("GET", "/"), testing::response(200));
    let upstream = testing::upstream("r", "c", "/");
    let body = testing::buffer("x").trailer("a", "b");
    assert_eq!(
        policy.pre_route(&request.view()).unwrap(),
        Decision::Continue
    );
    let decision = policy.pre_upstream(&request.view(), &upstream.view(), Some(body.view()));
    assert_eq!(decision.unwrap(), Decision::Continue);
    let exchange = testing::exchange("r", "c");
    let outcome = policy.post_response(
        &request.view(),
        &response.view(),
        &exchange,
        Some(body.view()),
    );
    assert_eq!(outcome.unwrap(), Outcome::Continue);
    let out = testing::transform(["a", "b"], |body, out| policy.request_body(body, out));
    assert_eq!(out.unwrap(), b"ab");
    let out = testing::transform(["a", "b"], |body, out| policy.response_body(body, out));
    assert_eq!(out.unwrap(), b"ab");
    assert_eq!(testing::policy::<Defaults>("[]").err().unwrap()[0].path, "");
}
