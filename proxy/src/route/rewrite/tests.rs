//! Rewrites and redirects by example.

use serde_json::json;

use super::*;
use crate::route::tests::route;

fn upstream(matched: &serde_json::Value, rewrite: &serde_json::Value, path: &str) -> String {
    let route = route(&json!({
        "name": "r",
        "match": {"path": matched},
        "forward": {"clusters": [{"name": "c"}], "rewrite": rewrite},
    }));
    let fleetway_api::Action::Forward(forward) = &route.action else {
        panic!("not a forward");
    };
    let original = PathAndQuery::try_from(path).unwrap();
    upstream_path(forward, &route.path, &original)
        .unwrap()
        .map_or_else(|| format!("as it was: {path}"), |path| path.to_string())
}

#[test]
fn a_prefix_is_replaced_by_whole_segments() {
    for (matched, rewrite, path, want) in [
        ("/api", "/v2", "/api", "/v2"),
        ("/api", "/v2", "/api/", "/v2/"),
        ("/api", "/v2", "/api/x", "/v2/x"),
        ("/api/", "/v2/", "/api/x?a=/b//c", "/v2/x?a=/b//c"),
        ("/api", "/", "/api", "/"),
        ("/api", "/", "/api?q", "/?q"),
        ("/api", "/", "/api/", "/"),
        ("/api", "/", "/api/x/", "/x/"),
        ("/api", "/", "/api//evil.example/x", "/evil.example/x"),
        ("/api", "/v2", "/api//x", "/v2//x"),
        ("/", "/v2", "/", "/v2/"),
        ("/", "/v2", "/x", "/v2/x"),
        ("/", "/v2", "*", "as it was: *"),
        ("/", "/", "//x", "/x"),
    ] {
        let made = upstream(
            &json!({"prefix": matched}),
            &json!({"prefix": rewrite}),
            path,
        );
        assert_eq!(made, want, "{matched} to {rewrite} on {path}");
    }
}

#[test]
fn a_template_is_filled_with_what_the_match_captured() {
    for (matched, rewrite, path, want) in [
        ("/users/{id}", "/v2/{id}", "/users/7", "/v2/7"),
        ("/{a}/{b}", "/{b}/x/{a}", "/1/2?q=1", "/2/x/1?q=1"),
        ("/a/{rest*}", "/{rest*}", "/a/b/c/", "/b/c/"),
        (
            "/a/{rest*}",
            "/{rest*}",
            "/a//evil.example",
            "/evil.example",
        ),
        ("/a/{id}", "/b", "/a/1", "/b"),
    ] {
        let made = upstream(
            &json!({"template": matched}),
            &json!({"template": rewrite}),
            path,
        );
        assert_eq!(made, want, "{matched} to {rewrite} on {path}");
    }
}

#[test]
fn without_a_rewrite_the_path_stays() {
    let path = "//a//b/?x";
    let made = upstream(&json!({"prefix": "/"}), &json!({"host": "b.example"}), path);
    assert_eq!(made, "as it was: //a//b/?x");
}

#[test]
fn a_path_that_grows_too_long_is_an_error() {
    let route = route(&json!({
        "name": "r",
        "forward": {"clusters": [{"name": "c"}], "rewrite": {"prefix": "/longer"}},
    }));
    let fleetway_api::Action::Forward(forward) = &route.action else {
        panic!("not a forward");
    };
    let original = PathAndQuery::try_from(format!("/{}", "a".repeat(65_530))).unwrap();
    assert!(upstream_path(forward, &route.path, &original).is_err());
}

#[test]
fn a_redirect_changes_what_it_names_and_keeps_the_rest() {
    for (redirect, request, want) in [
        (
            r#"{"scheme": "https"}"#,
            "http a.example /x?q=1",
            "https://a.example/x?q=1",
        ),
        (
            r#"{"scheme": "https"}"#,
            "http a.example:8080 /",
            "https://a.example/",
        ),
        (
            r#"{"scheme": "https"}"#,
            "https a:8443 /",
            "https://a:8443/",
        ),
        (r#"{"scheme": "http"}"#, "https a:8443 /", "http://a/"),
        (
            r#"{"scheme": "https", "port": 8443}"#,
            "http a:8080 /",
            "https://a:8443/",
        ),
        (
            r#"{"scheme": "https", "port": 443}"#,
            "http a /",
            "https://a/",
        ),
        (
            r#"{"scheme": "https", "port": 80}"#,
            "http a /",
            "https://a:80/",
        ),
        (r#"{"port": 80}"#, "http a:8080 /", "http://a/"),
        (
            r#"{"host": "b.example"}"#,
            "http a:8080 /",
            "http://b.example:8080/",
        ),
        (
            r#"{"host": "b.example"}"#,
            "https a:443 /",
            "https://b.example/",
        ),
        (
            r#"{"host": "b.example"}"#,
            "https  /x",
            "https://b.example/x",
        ),
        (
            r#"{"host": "[::2]"}"#,
            "http [::1]:8080 /",
            "http://[::2]:8080/",
        ),
        (r#"{"port": 81}"#, "http [::1]:8080 /", "http://[::1]:81/"),
        (r#"{"port": 81}"#, "http ::1 /", "http://[::1]:81/"),
        (r#"{"path": "/new"}"#, "http a /old?q", "http://a/new?q"),
        (
            r#"{"path": "/new", "strip_query": true}"#,
            "http a /old?q",
            "http://a/new",
        ),
        (r#"{"prefix": "/v2"}"#, "http a /x?q", "http://a/v2/x?q"),
        (r#"{"strip_query": true}"#, "http a //x?q", "http://a//x"),
        (r#"{"port": 81}"#, "http a *", "http://a:81/"),
        (
            r#"{"scheme": "https"}"#,
            "http  //b.example/?q",
            "/b.example/?q",
        ),
    ] {
        let redirect: serde_json::Value = serde_json::from_str(redirect).unwrap();
        let route = route(&json!({"name": "r", "redirect": redirect}));
        let fleetway_api::Action::Redirect(action) = &route.action else {
            panic!("not a redirect");
        };
        let mut parts = request.split(' ');
        let origin = Origin {
            https: parts.next() == Some("https"),
            authority: parts.next().unwrap(),
            path: &PathAndQuery::try_from(parts.next().unwrap()).unwrap(),
        };
        let made = location(action, &route.path, origin).unwrap();
        assert_eq!(made, want, "{redirect} on {request}");
    }
}
