//! The program against a server that says what the test wants: requests as they are sent, answers
//! as they are told, exit codes.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use serde_json::{Value, json};

use crate::cli::{Run, fleetway, fleetway_with};

/// A request as it came.
#[derive(Debug)]
struct Request {
    /// `GET /v1/nodes?page_size=1000`
    line: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Value,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// What the server does with a request.
enum Answer {
    Status(u16, Value),
    /// Takes the request and goes away.
    HangUp,
}

/// Answers one request after the other; each is told.
fn server(answers: Vec<Answer>) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (told, requests) = sync_channel(64);
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            exchange(stream, answer, &told);
        }
    });
    (address, requests)
}

/// The request is told before it is answered: who has the answer finds it.
fn exchange(stream: TcpStream, answer: Answer, told: &SyncSender<Request>) {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let mut headers = Vec::new();
    loop {
        let header = line();
        let Some((name, value)) = header.split_once(": ") else {
            break;
        };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut request = Request {
        line: first.trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: Value::Null,
    };
    let length: usize = request.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let _ = told.send(request);
    if let Answer::Status(status, body) = answer {
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let stream = reader.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
    }
}

fn ok(body: Value) -> Answer {
    Answer::Status(200, body)
}

fn problem(status: u16, code: &str, rest: &Value) -> Answer {
    let mut body = json!({"type": "about:blank", "title": "No", "status": status, "code": code});
    for (key, value) in rest.as_object().unwrap() {
        body[key] = value.clone();
    }
    Answer::Status(status, body)
}

fn run(answers: Vec<Answer>, args: &[&str], input: &str) -> (Run, Vec<Request>) {
    let (server, requests) = server(answers);
    let mut all = vec!["--server", &server, "--author", "ann"];
    all.extend(args);
    let run = fleetway_with(&all, &[], input);
    (run, requests.try_iter().collect())
}

const CLUSTER: &str = "kind: Cluster\nname: a\nlabels: {x: new}\nmeta: {version: \"7\"}\n";

fn written(outcome: &str) -> Answer {
    ok(json!({
        "revision": 42, "dry_run": false,
        "results": [{"kind": "Cluster", "name": "a", "outcome": outcome}],
    }))
}

#[test]
fn apply_adds_what_the_server_has_against_the_valid_documents() {
    let text = format!("{CLUSTER}---\nkind: Cluster\nname: b\nx: 1\n");
    let errors = json!({"errors": [
        {"resource": "clusters/a", "message": "is at version 8 by now"},
        {"resource": "clusters/b", "field": "x", "message": "told already"},
    ]});
    let answer = vec![problem(422, "invalid", &errors)];
    let (run, requests) = run(answer, &["apply", "-f", "-"], &text);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.starts_with("error: 2 faults\n")
            && run.stderr.contains("clusters/b: x: unknown field")
            && run.stderr.contains("clusters/a: is at version 8 by now"),
        "{run:?}"
    );
    assert_eq!(requests[0].line, "POST /v1/transactions?dry_run=true");
    let sent = requests[0].body["operations"].as_array().unwrap();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0]["if_version"], "7");
}

#[test]
fn a_version_is_a_condition_unless_it_is_to_be_overwritten() {
    for (more, version) in [(None, json!("7")), (Some("--overwrite"), Value::Null)] {
        let mut args = vec!["apply", "-f", "-"];
        args.extend(more);
        let (run, requests) = run(vec![written("created")], &args, CLUSTER);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(requests[0].body["operations"][0]["if_version"], version);
    }
}

#[test]
fn plain_documents_have_no_meta() {
    let document = json!({"kind": "Cluster", "name": "a", "meta": {"version": "7"}});
    let page = json!({"items": [document.clone()], "revision": 7});
    for (args, answer) in [
        (["get", "clusters"].as_slice(), page),
        (&["get", "cluster", "a"], document),
    ] {
        let mut args = args.to_vec();
        args.extend(["-o", "yaml", "--plain"]);
        let (run, _) = run(vec![ok(answer)], &args, "");
        assert_eq!(run.stdout, "kind: Cluster\nname: a\n", "{run:?}");
    }
}

#[test]
fn only_what_writes_says_that_it_may_have_been_made() {
    let said = "may have been made";
    for (args, write) in [
        (["status"].as_slice(), false),
        (&["get", "route", "a"], false),
        (&["delete", "route", "a"], true),
    ] {
        let lost = || vec![Answer::HangUp, Answer::HangUp, Answer::HangUp];
        let (run, _) = run(lost(), args, "");
        assert_eq!(run.code, 5, "{run:?}");
        assert_eq!(run.stderr.contains(said), write, "{run:?}");
        assert!(run.stderr.contains("Is this its REST address?"), "{run:?}");
    }
    let (run, _) = run(vec![ok(json!("hello"))], &["status"], "");
    assert!(run.stderr.contains("Is this its REST address?"), "{run:?}");
}

#[test]
fn apply_sends_one_transaction_and_shows_what_changed() {
    let before = json!({"kind": "Cluster", "name": "a", "labels": {"x": "old"}});
    let after = json!({"kind": "Cluster", "name": "a", "labels": {"x": "new"}});
    let change = json!({
        "revision": 42, "time": "2026-01-01T00:00:00Z", "author": "ann", "message": "", "changed": 1,
        "changes": [{
            "kind": "Cluster", "name": "a", "outcome": "updated", "before": before, "after": after,
        }],
    });
    let (run, requests) = run(
        vec![written("updated"), ok(change)],
        &["apply", "-f", "-", "-m", "why"],
        CLUSTER,
    );
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.stdout,
        "changed  clusters/a
    @@ -1,4 +1,4 @@
     kind: Cluster
     name: a
     labels:
    -  x: old
    +  x: new
revision 42 (1 changed)
"
    );
    assert_eq!(requests[0].line, "POST /v1/transactions");
    assert_eq!(requests[0].header("x-fleetway-author"), "ann");
    assert_eq!(requests[0].header("idempotency-key").len(), 36);
    assert_eq!(
        requests[0].body,
        json!({
            "message": "why",
            "operations": [{"put": after, "if_version": "7"}],
        })
    );
    assert_eq!(requests[1].line, "GET /v1/revisions/42");
}

#[test]
fn a_transaction_whose_answer_was_lost_is_sent_again_with_the_same_key() {
    let (run, requests) = run(
        vec![Answer::HangUp, Answer::HangUp, written("created")],
        &["apply", "-f", "-"],
        CLUSTER,
    );
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.stdout, "created  clusters/a\nrevision 42 (1 created)\n");
    let keys: Vec<&str> = requests
        .iter()
        .map(|request| request.header("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()));
}

#[test]
fn a_dry_run_is_compared_with_what_there_is() {
    let response = json!({
        "revision": 42, "dry_run": true,
        "results": [{"kind": "Cluster", "name": "a", "outcome": "updated"}],
    });
    let now = json!({"kind": "Cluster", "name": "a", "meta": {"version": "7"}});
    let (run, requests) = run(
        vec![ok(response), ok(now)],
        &["apply", "-f", "-", "--dry-run", "--wait"],
        CLUSTER,
    );
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("    +labels:\n"), "{run:?}");
    assert!(
        run.stdout.contains("dry run: nothing was stored"),
        "{run:?}"
    );
    assert_eq!(requests[0].line, "POST /v1/transactions?dry_run=true");
    assert_eq!(requests[1].line, "GET /v1/clusters/a");
    assert_eq!(requests.len(), 2, "there is nothing to wait for");
}

#[test]
fn what_is_not_live_in_time_is_told_with_the_reasons() {
    let status = json!({
        "revision": 42, "live": false, "nodes": 2, "nodes_live": 1,
        "waiting": [{
            "id": "p2", "fleet": "blue", "state": "REJECTED", "live_revision": 41,
            "reason": "listeners/web: address: in use",
        }],
    });
    let (run, requests) = run(
        vec![written("created"), ok(status)],
        &["apply", "-f", "-", "--wait=1s", "--wait-nodes", "95%"],
        CLUSTER,
    );
    assert_eq!(run.code, 6, "{run:?}");
    assert!(run.stdout.contains("revision 42"), "{run:?}");
    assert!(
        run.stderr.contains("live on 1 of 2 connected nodes\n  p2 (blue, REJECTED, serves 41): listeners/web: address: in use\n"),
        "{run:?}"
    );
    assert_eq!(
        requests[1].line,
        "GET /v1/revisions/42/status?wait=1000ms&nodes=95%25"
    );
}

#[test]
fn a_wait_for_what_was_refused_is_over_at_once() {
    let status = json!({
        "revision": 42, "live": false, "nodes": 1, "nodes_live": 0, "refused": true,
        "waiting": [{"id": "p1", "fleet": "blue", "state": "REJECTED", "reason": "in use"}],
    });
    // Longer than one request may wait: it is not asked a second time.
    let (run, requests) = run(
        vec![written("created"), ok(status)],
        &["apply", "-f", "-", "--wait=20m"],
        CLUSTER,
    );
    assert_eq!((run.code, requests.len()), (6, 2), "{run:?}");
    let told = "was refused: it is live on 0 of 1 connected nodes\n  p1 (blue, REJECTED): in use\n";
    assert!(run.stderr.contains(told), "{run:?}");
}

#[test]
fn what_is_live_in_time_is_told() {
    let status = json!({"revision": 42, "live": true, "nodes": 2, "nodes_live": 2, "waiting": []});
    let (run, _) = run(
        vec![written("created"), ok(status)],
        &["apply", "-f", "-", "--wait"],
        CLUSTER,
    );
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout
            .ends_with("revision 42 is live on 2 of 2 connected nodes\n"),
        "{run:?}"
    );
}

#[test]
fn each_kind_of_problem_has_its_exit_code_and_next_step() {
    let invalid =
        json!({"errors": [{"resource": "clusters/a", "field": "pool", "message": "bad"}]});
    let referred = json!({"referrers": [{"kind": "Route", "name": "users"}]});
    let told = json!({"detail": "what happened"});
    for (status, code, rest, exit, says) in [
        (
            422,
            "invalid",
            &invalid,
            2,
            "standard input: clusters/a: pool: bad",
        ),
        (
            409,
            "still_referenced",
            &referred,
            3,
            "referred to by routes/users\nNothing was changed",
        ),
        (409, "already_exists", &told, 3, "what happened"),
        (412, "stale_version", &told, 3, "prints the newest version"),
        (404, "not_found", &told, 4, "list what there is"),
        (
            503,
            "store_unavailable",
            &told,
            5,
            "look at the newest revisions before",
        ),
        (500, "internal", &told, 1, "what happened"),
        (400, "bad_request", &told, 1, "what happened"),
    ] {
        let (run, _) = run(
            vec![problem(status, code, rest)],
            &["apply", "-f", "-"],
            CLUSTER,
        );
        assert_eq!(run.code, exit, "{code}: {run:?}");
        assert!(run.stderr.contains(says), "{code}: {run:?}");
        assert_eq!(run.stdout, "", "{code}");
    }
}

#[test]
fn an_answer_of_another_kind_of_server_is_told_as_such() {
    let (run, _) = run(
        vec![Answer::Status(502, json!("bad gateway"))],
        &["status"],
        "",
    );
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr
            .contains("does not answer like a Fleetway management server (status 502"),
        "{run:?}"
    );
}

#[test]
fn lists_are_read_page_by_page() {
    let page = |name: &str, next: Option<&str>| {
        let mut page = json!({"items": [{"kind": "Cluster", "name": name}], "revision": 9});
        if let Some(next) = next {
            page["next_page_token"] = next.into();
        }
        ok(page)
    };
    let pages = || vec![page("a", Some("t=1")), page("b", None)];
    let (json, requests) = run(
        pages(),
        &[
            "get", "cluster", "-l", "env=prod", "--fleet", "blue", "-o", "json",
        ],
        "",
    );
    assert_eq!(json.code, 0, "{json:?}");
    assert_eq!(
        serde_json::from_str::<Value>(&json.stdout).unwrap(),
        json!({
            "items": [{"kind": "Cluster", "name": "a"}, {"kind": "Cluster", "name": "b"}],
            "revision": 9,
        })
    );
    assert_eq!(
        requests[1].line,
        "GET /v1/clusters?page_size=1000&label=env%3Dprod&fleet=blue&page_token=t%3D1"
    );
    let (yaml, _) = run(pages(), &["get", "clusters", "-o", "yaml"], "");
    assert_eq!(
        yaml.stdout,
        "kind: Cluster\nname: a\n---\nkind: Cluster\nname: b\n"
    );
}

fn node(id: &str, rest: &Value) -> Value {
    let mut node = json!({
        "id": id, "fleet": "blue", "address": "127.0.0.1:5000", "build": "fleetway-proxy/0.1.0",
        "connected": true, "since": "2026-01-01T00:00:00Z", "state": "LIVE",
        "live_revision": 42, "lag": 0,
    });
    for (key, value) in rest.as_object().unwrap() {
        node[key] = value.clone();
    }
    node
}

#[test]
fn status_shows_each_node_and_a_summary() {
    let rejected = json!({
        "state": "REJECTED", "live_revision": 41, "lag": 1,
        "last_error": {
            "revision": 42, "time": "2026-01-01T00:00:00Z",
            "message": "listeners/web: address:\n\u{1b}[31min use",
        },
    });
    let page = json!({
        "items": [node("p1", &json!({})), node("p2", &rejected)], "revision": 42,
    });
    let (run, _) = run(vec![ok(page)], &["status"], "");
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.stdout,
        "\
NODE  FLEET  ADDRESS         STATE     LIVE  LAG  LAST ERROR
p1    blue   127.0.0.1:5000  LIVE      42    0    -
p2    blue   127.0.0.1:5000  REJECTED  41    1    revision 42: listeners/web: address:  [31min use
2 nodes: 1 live, 1 rejected; the newest revision is 42
"
    );
}

#[test]
fn the_newest_revisions_are_listed_as_many_as_asked_for() {
    let revision = json!({
        "revision": 42, "time": "2026-01-01T00:00:00Z", "author": "ann", "message": "why", "changed": 3,
    });
    let page = json!({"items": [revision], "next_page_token": "t", "revision": 42});
    let (run, requests) = run(vec![ok(page)], &["revisions", "-n", "1"], "");
    assert_eq!(requests[0].line, "GET /v1/revisions?page_size=1");
    assert!(
        run.stdout
            .contains("42        2026-01-01T00:00:00Z  ann     3        why\n"),
        "{run:?}"
    );
    assert!(run.stdout.contains("there are older ones"), "{run:?}");
}

#[test]
fn delete_takes_names_in_both_spellings() {
    let (run, requests) = run(
        vec![written("deleted")],
        &["delete", "cluster/a", "routes/b"],
        "",
    );
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        requests[0].body["operations"],
        json!([
            {"delete": {"kind": "Cluster", "name": "a"}},
            {"delete": {"kind": "Route", "name": "b"}},
        ])
    );
}

#[test]
fn version_tolerates_a_server_that_does_not_tell() {
    let (told, _) = run(vec![ok(json!({"version": "9.9.9"}))], &["version"], "");
    assert!(
        told.stdout.contains("server: 9.9.9 (http://127."),
        "{told:?}"
    );
    let refused = problem(404, "no_such_path", &json!({}));
    let (untold, _) = run(vec![refused], &["version"], "");
    assert_eq!(untold.code, 0);
    assert!(
        untold.stdout.contains("server: not told by http"),
        "{untold:?}"
    );
    assert!(fleetway(&["version"]).stdout.starts_with("client: "));
}

#[cfg(unix)]
mod edit {
    use super::*;

    const DOCUMENT: &str = r#"{
        "kind": "Cluster", "name": "a", "labels": {"x": "old"}, "meta": {"version": "7"}
    }"#;

    /// Edits with a shell script; `$1` is the file.
    fn edit(script: &str, answers: Vec<Answer>) -> (Run, Vec<Request>) {
        let mut all = vec![ok(serde_json::from_str(DOCUMENT).unwrap())];
        all.extend(answers);
        let (server, requests) = server(all);
        let folder = tempfile::tempdir().unwrap();
        let editor = folder.path().join("editor");
        std::fs::write(&editor, script).unwrap();
        let editor = format!("sh {}", editor.display());
        let run = fleetway_with(
            &["--server", &server, "edit", "cluster", "a"],
            &[
                ("EDITOR", editor.as_str()),
                ("STATE", folder.path().to_str().unwrap()),
                ("TMPDIR", folder.path().to_str().unwrap()),
            ],
            "",
        );
        (run, requests.try_iter().collect())
    }

    #[test]
    fn an_edit_is_conditional_on_the_version_that_was_opened() {
        let (run, requests) = edit(
            "sed -i -e 's/x: old/x: new/' -e '/^meta/d' -e '/^  version/d' \"$1\"",
            vec![written("created")],
        );
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(
            requests[1].body["operations"],
            json!([{
                "put": {"kind": "Cluster", "name": "a", "labels": {"x": "new"}},
                "if_version": "7",
            }])
        );
    }

    #[test]
    fn a_text_left_as_it_is_or_emptied_changes_nothing() {
        for script in ["true", ": > \"$1\""] {
            let (run, requests) = edit(script, Vec::new());
            assert_eq!(run.code, 0, "{run:?}");
            assert_eq!(run.stdout, "clusters/a is left as it is\n");
            assert_eq!(requests.len(), 1);
        }
    }

    #[test]
    fn a_refused_text_is_opened_again_with_the_faults_on_top() {
        let script = r#"
            if [ -e "$STATE/seen" ]; then
                cp "$1" "$STATE/again"
                sed -i 's/connect_timeout: 9h/connect_timeout: 9s/' "$1"
            else
                touch "$STATE/seen"
                echo 'connect_timeout: 9h' >> "$1"
            fi
            grep -q '^#| It was refused:$' "$1" || [ ! -e "$STATE/again" ]"#;
        let (run, requests) = edit(script, vec![written("created")]);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(
            requests.len(),
            2,
            "the first text was refused before it was sent"
        );
        assert_eq!(
            requests[1].body["operations"][0]["put"]["connect_timeout"],
            "9s"
        );
    }

    #[test]
    fn a_stale_edit_shows_what_others_changed_and_keeps_the_text_when_given_up() {
        let script = r#"
            sed -i 's/x: old/x: new/' "$1"
            if [ -e "$STATE/seen" ]; then
                grep -q '^#| bob changed it meanwhile.*meta.version to "8"' "$1" || exit 1
                grep -q '^#|   +  x: theirs' "$1" || exit 1
            fi
            touch "$STATE/seen""#;
        let now = json!({
            "kind": "Cluster", "name": "a", "labels": {"x": "theirs"},
            "meta": {"version": "8", "updated_by": "bob"},
        });
        let stale = problem(412, "stale_version", &json!({}));
        let (run, _) = edit(script, vec![stale, ok(now)]);
        assert_eq!(run.code, 3, "{run:?}");
        assert!(
            run.stderr.contains("given up; your text is kept in /"),
            "{run:?}"
        );
    }

    #[test]
    fn a_text_that_is_gone_is_not_said_to_be_kept() {
        let (run, requests) = edit("rm \"$1\"", Vec::new());
        assert_eq!(run.code, 1, "{run:?}");
        assert!(!run.stderr.contains("is kept"), "{run:?}");
        assert_eq!(requests.len(), 1);
    }

    #[test]
    fn an_editor_that_fails_changes_nothing() {
        let (run, requests) = edit("exit 3", Vec::new());
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("Set VISUAL or EDITOR"), "{run:?}");
        assert_eq!(requests.len(), 1);
    }
}
