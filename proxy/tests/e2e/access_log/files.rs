//! What becomes of lines when their file is moved, full, stalled, or cannot be opened.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{Logged, listener, read};
use crate::support::{Proxy, Server, documents, eventually, exchange};

fn resources() -> [Value; 1] {
    [documents::respond("own", "/", "hello")]
}

/// One request whose path is `path`, on a connection of its own.
async fn get(logged: &Logged, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let answer = exchange(logged.web().await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// So many requests on one connection.
async fn many(logged: &Logged, count: usize, path: &str) {
    let one = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let last = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let answers = exchange(logged.web().await, &(one.repeat(count - 1) + &last)).await;
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), count);
}

fn paths(file: &Path) -> Vec<String> {
    let lines = read(file);
    let paths = lines.iter().map(|line| line["path"].as_str());
    paths.map(|path| path.expect("a path").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_is_lost_when_the_file_is_rotated_under_load() {
    const EACH: usize = 300;
    let logged = Logged::with(&resources()).await;
    let moved = |number: usize| logged.folder.path().join(format!("access.{number}"));
    for number in 0..4 {
        let rotate = async {
            eventually("some lines are there", async || {
                (!read(&logged.file).is_empty()).then_some(())
            })
            .await;
            fs::rename(&logged.file, moved(number)).expect("moved");
            // The first two are noticed without.
            if number >= 2 {
                logged.proxy.signal("USR1");
            }
        };
        let load = async {
            for _ in 0..3 {
                many(&logged, EACH / 3, &format!("/{number}")).await;
            }
        };
        tokio::join!(rotate, load);
        // What makes it look after the file is a line.
        eventually("there is a new file", async || {
            get(&logged, "/more").await;
            logged.file.exists().then_some(())
        })
        .await;
    }
    let served: u64 = eventually("all lines are written", async || {
        let written = logged.metric("fleetway_access_log_lines_total").await;
        let (_, metrics) = logged.proxy.page("/metrics").await;
        let sample = "fleetway_route_request_duration_seconds_count{route=\"own\"} ";
        let served = metrics.lines().find_map(|line| line.strip_prefix(sample));
        let served = served.expect("a count").parse().expect("a number");
        (written == served).then_some(served)
    })
    .await;
    let files = (0..4).map(moved).chain([logged.file.clone()]);
    let all: Vec<String> = files.flat_map(|file| paths(&file)).collect();
    assert_eq!(all.len() as u64, served);
    for number in 0..4 {
        let path = format!("/{number}");
        assert_eq!(all.iter().filter(|other| **other == path).count(), EACH);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_answered_is_written_when_the_proxy_stops() {
    let mut logged = Logged::with(&resources()).await;
    many(&logged, 200, "/last").await;
    logged.proxy.terminate();
    assert_eq!(logged.proxy.ended(crate::support::PATIENCE).await, Some(0));
    assert_eq!(paths(&logged.file).len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_goes_elsewhere_goes_on_there_and_ends_whole_where_it_was() {
    let logged = Logged::with(&resources()).await;
    get(&logged, "/one").await;
    let other = logged.folder.path().join("other.json");
    let all = [listener("web", &other), listener("second", &other)];
    logged.put(&[&all[..], &resources()].concat());
    let second = logged.proxy.listener("second").await;
    get(&logged, "/two").await;
    exchange(
        second,
        "GET /three HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    eventually("both listeners write to one file", async || {
        let mut paths = paths(&other);
        paths.sort_unstable();
        (paths == ["/three", "/two"]).then_some(())
    })
    .await;
    eventually("the first line is there", async || {
        (paths(&logged.file) == ["/one"]).then_some(())
    })
    .await;
    logged.put(&[&[documents::listener("web")], &resources()[..]].concat());
    eventually("there is no log", async || {
        let (_, metrics) = logged.proxy.page("/metrics").await;
        (!metrics.contains("fleetway_access_log")).then_some(())
    })
    .await;
    get(&logged, "/four").await;
    assert!(!paths(&other).contains(&"/four".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_dropped_and_counted_while_a_pipe_is_not_read_and_nobody_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    // A reader that does not read.
    let mut reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .expect("opened");
    let mut logged = Logged::changed(&resources(), |listener| {
        listener["access_log"]["path"] = json!(pipe);
    })
    .await;
    // 4 MiB may wait, and 64 KiB are in the pipe.
    let path = format!("/{}", "x".repeat(12_000));
    let mut asked = 0;
    eventually("lines are dropped", async || {
        many(&logged, 100, &path).await;
        asked += 100;
        let dropped = logged.metric("fleetway_access_log_dropped_total").await;
        (dropped > 0).then_some(())
    })
    .await;
    assert!(asked * 12_000 > 4 << 20, "it takes {asked} requests");
    // It ends though nobody reads.
    logged.proxy.terminate();
    assert_eq!(logged.proxy.ended(crate::support::PATIENCE).await, Some(0));
    let mut first = [0; 9];
    std::io::Read::read_exact(&mut reader, &mut first).expect("what was written");
    assert_eq!(&first, b"{\"time\":\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_counted_and_requests_go_on() {
    let mut logged = Logged::changed(&resources(), |listener| {
        listener["access_log"]["path"] = "/dev/full".into();
    })
    .await;
    get(&logged, "/one").await;
    eventually("it is tried again", async || {
        let errors = logged.metric("fleetway_access_log_errors_total").await;
        (errors > 1).then_some(())
    })
    .await;
    get(&logged, "/two").await;
    assert_eq!(logged.metric("fleetway_access_log_lines_total").await, 0);
    // It has not ended: it goes on with another file.
    logged.put(&[&[listener("web", &logged.file)], &resources()[..]].concat());
    eventually("lines go elsewhere", async || {
        get(&logged, "/three").await;
        (!paths(&logged.file).is_empty()).then_some(())
    })
    .await;
    logged.proxy.terminate();
    assert_eq!(logged.proxy.ended(crate::support::PATIENCE).await, Some(0));
    let said = fs::read_to_string(logged.folder.path().join("said")).expect("what it said");
    assert!(said.contains("cannot write the access log"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_fills_its_disk_is_let_go_once_it_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("full.json");
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    let logged = Logged::changed(&resources(), |listener| {
        listener["access_log"]["path"] = json!(path);
    })
    .await;
    get(&logged, "/one").await;
    eventually("it cannot be written", async || {
        let errors = logged.metric("fleetway_access_log_errors_total").await;
        (errors > 0).then_some(())
    })
    .await;
    fs::remove_file(&path).expect("removed");
    eventually("the line is in another file", async || {
        (path.exists() && paths(&path) == ["/one"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_go_to_standard_output_where_so_asked() {
    let logged = Logged::changed(&resources(), |listener| {
        listener["access_log"]["path"] = "-".into();
    })
    .await;
    get(&logged, "/one").await;
    eventually("the line is there", async || {
        let said = fs::read_to_string(logged.folder.path().join("said")).ok()?;
        let line = said.lines().find(|line| line.starts_with("{\"time\":"))?;
        let line: Value = serde_json::from_str(line).expect("JSON");
        (line["path"] == "/one").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_opened_refuses_the_configuration() {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let first = [
        documents::listener("web"),
        documents::respond("own", "/", "old"),
    ];
    rest.commit_live(&first, 1).await;
    let web = proxy.listener("web").await;
    let folder = tempfile::tempdir().expect("a folder");
    for path in [
        folder.path().join("missing/web.json"),
        folder.path().to_owned(),
    ] {
        let bad = [
            listener("web", &path),
            documents::respond("own", "/", "new"),
        ];
        let bad = rest.commit(&bad, &[]).await;
        let message = eventually("the refusal is shown", async || {
            let node = rest.get("/v1/nodes/p1").await;
            let refused = node["last_error"]["revision"] == json!(bad);
            let message = node["last_error"]["message"].as_str()?.to_owned();
            refused.then_some(message)
        })
        .await;
        let says = "listeners/web: access_log.path: cannot be opened: ";
        assert!(message.contains(says), "{message}");
        assert!(
            message.contains("name a file that the proxy can write"),
            "{message}"
        );
        let answer = exchange(
            web,
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.ends_with("old"), "{answer}");
    }
    for (path, says) in [
        ("", "is missing"),
        ("log/web.json", "must be an absolute path"),
        ("/var/log/", "names a folder"),
    ] {
        let mut bad = documents::listener("web");
        bad["access_log"] = json!({"path": path});
        let (status, problem) = rest.try_transaction(&[bad], &[]).await.expect("an answer");
        assert_eq!(status, 422, "{problem}");
        let text = problem.to_string();
        assert!(
            text.contains("access_log.path") && text.contains(says),
            "{text}"
        );
    }
}
