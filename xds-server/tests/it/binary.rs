//! The real program.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

pub(crate) fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetway-xds"));
    command
        .args(["--rest", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data"])
        .arg(data)
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts the program and waits for the log line that says it serves.
async fn start(data: &Path) -> Child {
    let mut child = command(data).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let serving = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("serving") {
                return;
            }
        }
        panic!("it ended without serving");
    };
    timeout(Duration::from_secs(60), serving).await.unwrap();
    child
}

/// What a program that does not start says.
pub(crate) async fn ended(mut command: Command) -> Output {
    let output = timeout(Duration::from_secs(60), command.output()).await;
    output.expect("it ends").unwrap()
}

pub(crate) fn rest(data: &Path) -> String {
    let text = std::fs::read_to_string(data.join("addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(addresses["xds"].is_string());
    format!("http://{}", addresses["rest"].as_str().unwrap())
}

async fn terminate(mut child: Child) -> std::process::ExitStatus {
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(sent.unwrap().success());
    timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_second_process_on_the_same_directory_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path()).await;
    let second = ended(command(dir.path())).await;
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    let says = format!(
        "another fleetway-xds has the data directory {} open: stop it first",
        dir.path().display()
    );
    assert!(error.contains(&says), "{error}");
    assert!(terminate(first).await.success());
}

/// Creates clusters until the server is gone; gives the names of those that were acknowledged.
async fn write_until_killed(
    clusters: String,
    prefix: String,
    acknowledged: mpsc::Sender<()>,
) -> Vec<String> {
    let client = reqwest::Client::new();
    let mut names = Vec::new();
    for n in 0.. {
        let name = format!("{prefix}-{n}");
        let put = client.put(format!("{clusters}/{name}")).body("{}");
        match put.send().await {
            Ok(answer) if answer.status() == 201 => names.push(name),
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => break,
        }
        // Nobody counts any more once enough are acknowledged.
        let _counted = acknowledged.send(()).await;
    }
    names
}

/// Every name of a list, page by page.
async fn all_names(clusters: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut query = "page_size=1000".to_owned();
    loop {
        let page = reqwest::get(format!("{clusters}?{query}")).await.unwrap();
        let page: serde_json::Value = page.json().await.unwrap();
        for item in page["items"].as_array().unwrap() {
            names.insert(item["name"].as_str().unwrap().to_owned());
        }
        match page["next_page_token"].as_str() {
            Some(token) => query = format!("page_size=1000&page_token={token}"),
            None => return names,
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_no_revision_is_half_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..6 {
        let mut child = start(dir.path()).await;
        let base = rest(dir.path());
        let clusters = format!("{base}/v1/clusters");
        let names = all_names(&clusters).await;
        assert!(names.is_superset(&acknowledged), "a write was lost");
        // Each write is one revision and one cluster.
        let log = reqwest::get(format!("{base}/v1/revisions?page_size=1")).await;
        let log: serde_json::Value = log.unwrap().json().await.unwrap();
        assert_eq!(log["revision"].as_u64().unwrap(), names.len() as u64);
        let (sender, mut receiver) = mpsc::channel(1);
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let prefix = format!("c{round}-{writer}");
                tokio::spawn(write_until_killed(clusters.clone(), prefix, sender.clone()))
            })
            .collect();
        for _ in 0..7 * (round + 1) {
            receiver.recv().await.unwrap();
        }
        child.start_kill().unwrap();
        receiver.close();
        child.wait().await.unwrap();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
    }
    assert!(acknowledged.len() >= 7 * 21);
}

#[tokio::test]
async fn sigterm_ends_it_with_success() {
    let dir = tempfile::tempdir().unwrap();
    assert!(terminate(start(dir.path()).await).await.success());
    // The directory is free again.
    assert!(terminate(start(dir.path()).await).await.success());
}

#[tokio::test]
async fn a_request_in_flight_is_finished_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let child = start(dir.path()).await;
    let address = rest(dir.path()).replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = "PUT /v1/clusters/late HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(&mut stream).lines();
    let go_on = lines.next_line().await.unwrap().unwrap();
    assert_eq!(go_on, "HTTP/1.1 100 Continue");
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "");
    drop(lines);

    let ended = tokio::spawn(terminate(child));
    let refused = async { while TcpStream::connect(&address).await.is_ok() {} };
    timeout(Duration::from_secs(60), refused).await.unwrap();
    stream.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    assert!(ended.await.unwrap().success());

    let again = start(dir.path()).await;
    let late = reqwest::get(format!("{}/v1/clusters/late", rest(dir.path()))).await;
    assert_eq!(late.unwrap().status(), 200);
    assert!(terminate(again).await.success());
}

#[tokio::test]
async fn every_wrong_setting_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = command(dir.path());
    wrong
        .env("FLEETWAY_XDS_LOGS", "info")
        .env("FLEETWAY_XDS_MAX_BODY_BYTES", "much");
    let output = ended(wrong).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    for place in [
        "FLEETWAY_XDS_LOGS: unknown",
        "FLEETWAY_XDS_MAX_BODY_BYTES: ",
    ] {
        let place = format!("the environment variable {place}");
        assert!(error.contains(&place), "{error}");
    }
}
