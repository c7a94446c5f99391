//! Policies that fail: what becomes of their requests, and of those of others.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ALL, Fleet, at, get};
use crate::support::{documents, eventually};

/// A policy that misbehaves as a field of its configuration says.
fn hostile(fleet: &Fleet, name: &str, config: Value) -> Value {
    json!({
        "kind": "Policy", "name": name, "component": fleet.hostile, "config": config,
        "limits": {"timeout": "20ms", "memory": 8 << 20},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_a_policy_fails_for_is_answered_and_others_are_served() {
    let fleet = Fleet::start().await;
    let attacks = [
        "infinite_loop",
        "memory_bomb",
        "stack_overflow",
        "trap",
        "fail",
        "handle_flood",
        "random_flood",
    ];
    let mut all = vec![documents::respond("well", "/well", "well")];
    for attack in attacks {
        for (stage, key) in ALL
            .iter()
            .zip(["pre_route", "pre_upstream", "post_response"])
        {
            let name = format!("{}.{key}", attack.replace('_', "-"));
            let mut policy = hostile(&fleet, &name, json!({key: attack}));
            if attack == "trap" {
                policy["on_failure"] = json!({"status": 503, "body": "{\"code\":7}"});
            }
            let mut route = documents::forward(&name, &format!("/{attack}/{key}"), "echo");
            route["policies"] = at(&name, &[stage]);
            all.extend([policy, route]);
        }
    }
    let mut open = hostile(
        &fleet,
        "open",
        json!({"pre_route": "trap", "pre_upstream": "many_headers", "post_response": "trap"}),
    );
    open["fail_open"] = json!(true);
    let mut route = documents::forward("open", "/open", "echo");
    route["policies"] = at("open", &ALL);
    all.extend([open, route]);
    let url = fleet.commit(json!([]), json!([]), &all).await;
    let well = tokio::spawn({
        let url = format!("{url}/well");
        async move {
            let client = reqwest::Client::new();
            loop {
                let answer = client.get(&url).send().await.expect("an answer");
                assert_eq!(answer.text().await.expect("a whole answer"), "well");
            }
        }
    });
    for attack in attacks {
        for key in ["pre_route", "pre_upstream", "post_response"] {
            let answer = get(&format!("{url}/{attack}/{key}"), &[]).await;
            let expected = match attack {
                "trap" => (503, "{\"code\":7}"),
                _ => (500, "a policy failed\n"),
            };
            assert_eq!((answer.status, &*answer.text), expected, "{attack} {key}");
            assert_eq!(answer.values("x-request-id").len(), 1);
        }
    }
    // Nothing of what it had done before it failed is left.
    let answer = get(&format!("{url}/open"), &[]).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text.contains("x-many"), "{}", answer.text);
    assert!(!well.is_finished(), "somebody was not served");
    well.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_its_component_refuses_is_not_applied() {
    let fleet = Fleet::start().await;
    let good = fleet.policy("p", json!({}));
    let url = fleet
        .commit(json!([]), at("p", &["PRE_ROUTE"]), &[good])
        .await;
    let before = fleet.proxy.revision().await;
    for config in [
        json!({"refuse": "not like this"}),
        json!({"pre_route": [{"no_such_action": {}}]}),
    ] {
        let bad = fleet.policy("p", config);
        let client = fleet.server.client();
        let (status, answer) = client
            .try_transaction(&[bad], &[])
            .await
            .expect("an answer");
        // The server looks first; a proxy that knows better says so.
        if status == 200 {
            eventually("the refusal is shown", async || {
                let node = client.get("/v1/nodes/p1").await;
                let message = node["last_error"]["message"].as_str().unwrap_or_default();
                (node["state"] == json!("REJECTED") && message.contains("policies[0].config"))
                    .then_some(())
            })
            .await;
        } else {
            assert_eq!(status, 422, "{answer:#}");
        }
        assert_eq!(fleet.proxy.revision().await, before);
        assert_eq!(get(&url, &[]).await.status, 200);
    }
}

/// Sets the bound on the address space of a process.
fn bound_addresses(pid: u32, bytes: &str) {
    let limit = format!("--as={bytes}:");
    let set = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &limit])
        .status();
    assert!(set.expect("prlimit").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_the_server_and_not_on_a_proxy_is_refused_by_that() {
    let fleet = Fleet::start().await;
    let url = fleet.commit(json!([]), json!([]), &[]).await;
    let before = fleet.proxy.revision().await;
    // Room for what runs there, and none for the memory of policies.
    bound_addresses(fleet.proxy.pid(), "34359738368");
    let rest = fleet.server.client();
    let policy = fleet.policy("p", json!({"pre_route": [{"respond": {"status": 418}}]}));
    let mut route = documents::forward("all", "/", "echo");
    route["policies"] = at("p", &["PRE_ROUTE"]);
    rest.commit(&[policy, route.clone()], &[]).await;
    eventually("the refusal is shown", async || {
        let node = rest.get("/v1/nodes/p1").await;
        let message = node["last_error"]["message"].as_str().unwrap_or_default();
        let told = message.contains("components/") && message.contains("pool for policies");
        (node["state"] == json!("REJECTED") && told).then_some(())
    })
    .await;
    assert_eq!(fleet.proxy.revision().await, before);
    assert_eq!(get(&url, &[]).await.status, 200);
    bound_addresses(fleet.proxy.pid(), "unlimited");
    route["labels"] = json!({"tried": "again"});
    rest.commit_live(&[route], 1).await;
    assert_eq!(get(&url, &[]).await.status, 418);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuel_bounds_the_policy_that_has_it_and_no_other() {
    let fleet = Fleet::start().await;
    let answer = json!({"pre_route": [{"respond": {"status": 418}}]});
    let mut short = fleet.policy("short", answer.clone());
    short["limits"]["fuel"] = json!(1000);
    let mut long = fleet.policy("long", answer.clone());
    long["limits"]["fuel"] = json!(1_000_000_000);
    let mut all = vec![short, long, fleet.policy("none", answer)];
    for name in ["short", "long", "none"] {
        let mut route = documents::respond(name, &format!("/{name}"), name);
        route["policies"] = at(name, &["PRE_ROUTE"]);
        all.push(route);
    }
    let url = fleet.commit(json!([]), json!([]), &all).await;
    for (name, status) in [("short", 500), ("long", 418), ("none", 418)] {
        let answer = get(&format!("{url}/{name}"), &[]).await;
        assert_eq!(answer.status, status, "{name}");
    }
    let (_, page) = fleet.proxy.page("/metrics").await;
    let line = "fleetway_policy_failures_total{policy=\"short\",cause=\"fuel\"} 1";
    assert!(page.contains(line), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_end_leaves_others_their_turn() {
    let fleet = Fleet::start().await;
    let mut all = vec![documents::respond("well", "/well", "well")];
    for (name, config) in [
        ("bytes", json!({"response_body": "write_bytes"})),
        ("endless", json!({"response_body": "write_without_end"})),
    ] {
        let mut policy = hostile(&fleet, name, config);
        policy["body"] = json!("STREAMED");
        let mut route = documents::forward(name, &format!("/{name}"), "echo");
        route["policies"] = at(name, &["POST_RESPONSE"]);
        all.extend([policy, route]);
    }
    let url = fleet.commit(json!([]), json!([]), &all).await;
    for name in ["bytes", "endless"] {
        // As many as make it likely that every worker has one, and for as long as it takes.
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let url = format!("{url}/{name}");
                tokio::spawn(async move {
                    let mut answer = reqwest::get(url).await.expect("a head");
                    while let Ok(Some(_)) = answer.chunk().await {}
                })
            })
            .collect();
        let well = format!("{url}/well");
        for _ in 0..20 {
            let answer = get(&well, &[]);
            let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
            assert_eq!(answer.expect("its turn").text, "well", "{name}");
        }
        readers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_tell_the_policy_the_request_and_once_there_is_one_the_route() {
    let fleet = Fleet::start().await;
    let (on_listener, on_route) = (fleet.told_by_fields("l"), fleet.told_by_fields("r"));
    let others = [on_listener, on_route];
    let url = fleet.commit(at("l", &ALL), at("r", &ALL), &others).await;
    let log = json!([{"log": {"level": "warn", "message": "said\nso"}}]);
    let trap = json!([{"trap": {}}]);
    for (field, policy, route) in [
        ("x-l-route", "l", None),
        ("x-r-route", "r", Some("all")),
        ("x-l-upstream", "l", Some("all")),
        ("x-r-response", "r", Some("all")),
    ] {
        for (actions, said) in [
            (&log, "said\\nso"),
            (&trap, "the policy failed: it trapped"),
        ] {
            let id = format!("{field}-{}", said.len());
            let fields = [(field, actions.clone()), ("x-request-id", json!(id))];
            get(&url, &fields).await;
            let (policy, id) = (format!("policy={policy}"), format!("request_id=\"{id}\""));
            let line = fleet.line(&[said, &policy, &id]).await;
            let told = route.map(|route| format!("route=\"{route}\""));
            match told {
                Some(told) => assert!(line.contains(&told), "{line}"),
                None => assert!(!line.contains("route="), "{line}"),
            }
        }
    }
}
