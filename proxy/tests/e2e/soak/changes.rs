//! The configuration, changed over REST all the time.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Authority, Rest, documents};

/// How many routes come and go.
const ROUTES: usize = 50;
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(250);

/// Changes something of everything, one after the other, and each time waits until it is live.
pub async fn keep_changing(rest: Rest, ca: Authority) {
    let names: Vec<String> = (0..ROUTES)
        .map(|index| format!("passing-{index}"))
        .collect();
    let passing: Vec<Value> = names
        .iter()
        .map(|name| documents::respond(name, &format!("/{name}"), "hello"))
        .collect();
    let mut web = documents::listener("web");
    let mut steady = documents::forward("steady", "/", "one");
    for round in 0_u64.. {
        let odd = round % 2 == 1;
        steady["forward"]["clusters"][0]["name"] = if odd { "two" } else { "one" }.into();
        steady["response_headers"] =
            json!({"set": [{"name": "x-round", "value": round.to_string()}]});
        change(&rest, &[steady.clone()], &[]).await;
        change(&rest, &passing, &[]).await;
        web["http"]["idle_timeout"] = if odd { "60s" } else { "75s" }.into();
        change(&rest, &[web.clone()], &[]).await;
        change(&rest, &[], &names).await;
        change(&rest, &[ca.issue(&["api.example.com"]).secret("api")], &[]).await;
    }
}

/// Puts documents and deletes routes.
async fn change(rest: &Rest, puts: &[Value], gone: &[String]) {
    let mut deletes = Vec::with_capacity(gone.len());
    for name in gone {
        deletes.push(("Route", name.as_str()));
    }
    let revision = rest.commit(puts, &deletes).await;
    rest.live(revision, 1).await;
    tokio::time::sleep(PAUSE).await;
}
