//! The real program.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

fn command(data: &Path) -> Command {
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

fn rest(data: &Path) -> String {
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
    let second = command(dir.path()).output().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    let says = format!(
        "another fleetway-xds has the data directory {} open: stop it first",
        dir.path().display()
    );
    assert!(error.contains(&says), "{error}");
    assert!(terminate(first).await.success());
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let client = reqwest::Client::new();
    for round in 0..3 {
        let mut child = start(dir.path()).await;
        let clusters = format!("{}/v1/clusters", rest(dir.path()));
        let page = client.get(&clusters).send().await.unwrap();
        let page: serde_json::Value = page.json().await.unwrap();
        assert_eq!(page["items"].as_array().unwrap().len(), round * 5);
        for n in 0..5 {
            let url = format!("{clusters}/c{round}-{n}");
            let answer = client.put(url).body("{}").send().await.unwrap();
            assert_eq!(answer.status(), 201);
        }
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn sigterm_ends_it_with_success() {
    let dir = tempfile::tempdir().unwrap();
    assert!(terminate(start(dir.path()).await).await.success());
    // The directory is free again.
    assert!(terminate(start(dir.path()).await).await.success());
}

#[tokio::test]
async fn a_wrong_setting_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path())
        .env("FLEETWAY_XDS_PORT", "80")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("the environment variable FLEETWAY_XDS_PORT"),
        "{error}"
    );
}
