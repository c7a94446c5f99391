//! The served description against the served interface.

use fleetway_api::rest::{Code, Problem};
use reqwest::Method;

use crate::support::Server;

#[tokio::test]
async fn every_documented_path_and_parameter_is_served() {
    let server = Server::start().await.with_route().await;
    let document = server.get("/openapi.json").await.ok().json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().unwrap() {
        let url = path
            .replace("{name}", "nobody")
            .replace("{id}", "nobody")
            .replace("{n}", "1");
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let query: Vec<String> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| {
                    let name = parameter["name"].as_str().unwrap();
                    let value = match name {
                        "page_size" => "1",
                        "page_token" => continue_token(path),
                        "dry_run" => "true",
                        "wait" => "1ms",
                        "nodes" => "all",
                        _ => "x",
                    };
                    format!("{name}={value}")
                })
                .collect();
            let answer = server
                .with(
                    method.clone(),
                    &format!("{url}?{}", query.join("&")),
                    &[],
                    "{}",
                )
                .await;
            let status = answer.status.as_u16().to_string();
            assert!(
                operation["responses"].get(&status).is_some(),
                "{method} {path} answers {status}, which is not documented: {}",
                answer.text
            );
            if answer.status.is_success() {
                continue;
            }
            let problem: Problem = serde_json::from_str(&answer.text).unwrap();
            assert!(
                !matches!(
                    problem.code,
                    Code::BadRequest | Code::NoSuchPath | Code::MethodNotAllowed
                ),
                "{method} {path}: {problem}"
            );
            let codes = &operation["responses"][&status]["content"]["application/problem+json"]["schema"]
                ["allOf"][1]["properties"]["code"]["enum"];
            let code = serde_json::to_value(problem.code).unwrap();
            assert!(
                codes.as_array().unwrap().contains(&code),
                "{method} {path}: {code} is not documented"
            );
        }
    }
}

/// A token that a list takes: base64url of the list's name and a key.
fn continue_token(path: &str) -> &'static str {
    match path {
        "/v1/listeners" => "bGlzdGVuZXJzL2E",
        "/v1/routes" => "cm91dGVzL2E",
        "/v1/clusters" => "Y2x1c3RlcnMvYQ",
        "/v1/endpoints" => "ZW5kcG9pbnRzL2E",
        "/v1/policies" => "cG9saWNpZXMvYQ",
        "/v1/components" => "Y29tcG9uZW50cy9h",
        "/v1/secrets" => "c2VjcmV0cy9h",
        "/v1/revisions" => "cmV2aXNpb25zLzE",
        "/v1/nodes" => "bm9kZXMvYQ",
        other => panic!("{other} has pages: give it a token"),
    }
}
