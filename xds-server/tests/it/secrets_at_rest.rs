//! Secrets on the disk: encrypted, under a key that can be changed, with the real program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use fleetway_api::{Id, Kind, Name, document::Format, proto::v1, rest::Code};
use fleetway_xds::{
    commit::Committer,
    store::{Commit, MasterKey, Record, Rotated, SledStore, Store as _, StoreError},
};
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    binary::{command, ended, rest},
    certificates::{Authority, Issued},
    support::{Server, set_mode, write_private},
};

/// A folder with two master keys and, below it, the data.
struct Place {
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["one.key", "two.key"] {
            let mut make = Command::new(env!("CARGO_BIN_EXE_fleetway-xds"));
            make.arg("generate-key");
            let key = ended(make).await.stdout;
            assert_eq!(key.len(), 45, "32 bytes in base64");
            write_private(&folder.path().join(name), key);
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, name: &str) -> MasterKey {
        MasterKey::from_text(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    fn server(&self, key: Option<&str>) -> Command {
        let mut command = command(&self.path("data"));
        if let Some(key) = key {
            command.arg("--master-key-file").arg(self.path(key));
        }
        command
    }

    /// Starts the program with all its log in the file `log`.
    async fn start(&self, key: &str) -> Child {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = self.server(Some(key));
        command.args(["--log", "trace"]).stderr(Stdio::from(log));
        let child = command.spawn().unwrap();
        self.serves().await;
        child
    }

    /// Waits until the log says that it serves.
    async fn serves(&self) {
        let serving = async {
            while !fs::read_to_string(self.path("log"))
                .unwrap()
                .contains("serving rest=")
            {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(60), serving).await.unwrap();
    }

    fn rotation(&self, old: &str, new: &str) -> Command {
        let mut rotate = Command::new(env!("CARGO_BIN_EXE_fleetway-xds"));
        rotate
            .arg("rotate-key")
            .arg("--data")
            .arg(self.path("data"));
        rotate.arg("--old-key-file").arg(self.path(old));
        rotate.arg("--new-key-file").arg(self.path(new));
        rotate.kill_on_drop(true);
        rotate
    }

    async fn put(&self, issued: &Issued) {
        let client = reqwest::Client::new();
        let url = format!("{}/v1/secrets/web", rest(&self.path("data")));
        let answer = client.put(url).body(issued.body()).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    }

    async fn secret(&self) -> String {
        let url = format!("{}/v1/secrets/web", rest(&self.path("data")));
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }
}

/// Every byte in the files of a folder.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() {
            all_bytes(&path)
        } else {
            fs::read(&path).unwrap()
        });
    }
    bytes
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

async fn error(command: Command) -> String {
    let output = ended(command).await;
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn neither_disk_nor_log_hold_a_key_and_a_kill_loses_no_secret() {
    let place = Place::new().await;
    let authority = Authority::new();
    let (first, second) = (
        authority.issue("first.example.com", 2999),
        authority.issue("second.example.com", 2999),
    );
    let mut child = place.start("one.key").await;
    place.put(&first).await;
    place.put(&second).await;
    let shown = place.secret().await;
    child.start_kill().unwrap();
    child.wait().await.unwrap();

    let bytes = all_bytes(&place.path("data"));
    assert!(
        holds(&bytes, b"secrets/web"),
        "the bytes are those of the store"
    );
    let log = fs::read(place.path("log")).unwrap();
    for issued in [&first, &second] {
        for piece in issued.private_pieces() {
            assert!(!holds(&bytes, piece.as_bytes()), "the disk holds {piece}");
            assert!(!holds(&log, piece.as_bytes()), "the log holds {piece}");
        }
    }
    let key = place.key("one.key").to_text();
    assert!(!holds(&bytes, key.as_bytes()) && !holds(&log, key.as_bytes()));

    let (one, two) = (place.key("one.key").id(), place.key("two.key").id());
    let without = error(place.server(None)).await;
    assert!(
        without.contains("holds secrets and no master key was given"),
        "{without}"
    );
    assert!(without.contains(&one), "{without}");
    let wrong = error(place.server(Some("two.key"))).await;
    assert!(
        wrong.contains(&format!(
            "are under master key {one}, and the one given is {two}"
        )),
        "{wrong}"
    );

    let _child = place.start("one.key").await;
    assert_eq!(place.secret().await, shown);
    let log = reqwest::get(format!("{}/v1/revisions/2", rest(&place.path("data")))).await;
    let text = log.unwrap().text().await.unwrap();
    assert_eq!(text.matches("[redacted sha256:").count(), 2, "{text}");
}

#[tokio::test]
async fn another_master_key_opens_what_the_old_one_did_and_the_old_one_no_more() {
    let place = Place::new().await;
    let issued = Authority::new().issue("a.example.com", 2999);
    let mut child = place.start("one.key").await;
    place.put(&issued).await;
    let shown = place.secret().await;
    let busy = error(place.rotation("one.key", "two.key")).await;
    assert!(
        busy.contains("another fleetway-xds has the data directory"),
        "{busy}"
    );
    child.kill().await.unwrap();

    let rotated = ended(place.rotation("one.key", "two.key")).await;
    assert!(rotated.status.success(), "{rotated:?}");
    let says = format!(
        "the secrets are under master key {} now\n",
        place.key("two.key").id()
    );
    assert_eq!(String::from_utf8(rotated.stdout).unwrap(), says);
    let again = ended(place.rotation("one.key", "two.key")).await;
    assert!(String::from_utf8(again.stdout).unwrap().contains("already"));
    let old = error(place.server(Some("one.key"))).await;
    assert!(old.contains("rotate-key"), "{old}");
    let _child = place.start("two.key").await;
    assert_eq!(place.secret().await, shown);
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    let place = Place::new().await;
    let issued = Authority::new().issue("a.example.com", 2999);
    let (cert, key) = (place.path("tls.pem"), place.path("tls.key"));
    fs::write(&cert, &issued.chain).unwrap();
    write_private(&key, &issued.key);
    let with_tls = || {
        let mut command = place.server(Some("one.key"));
        command.arg("--tls-cert").arg(&cert);
        command.arg("--tls-key").arg(&key);
        command
    };
    for (name, says, mode) in [
        ("one.key", "master_key_file: ", 0o644),
        ("one.key", "master_key_file: ", 0o606),
        ("tls.key", "tls_key: ", 0o620),
        ("tls.key", "tls_key: ", 0o604),
    ] {
        let file = place.path(name);
        set_mode(&file, mode);
        let output = ended(with_tls()).await;
        assert_eq!(output.status.code(), Some(1), "{name} {mode:o}");
        let error = String::from_utf8(output.stderr).unwrap();
        let remedy = format!("run `chmod 600 {}`", file.display());
        assert!(error.contains(says) && error.contains(&remedy), "{error}");
        issued.not_in(&error);
        set_mode(&file, 0o600);
    }
    set_mode(&place.path("two.key"), 0o644);
    let output = ended(place.rotation("one.key", "two.key")).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("--new-key-file: ") && error.contains("chmod 600"),
        "{error}"
    );
    assert!(!place.path("data").exists(), "nothing was begun");
}

#[tokio::test]
async fn a_rotation_that_is_killed_leaves_the_store_under_one_of_the_keys() {
    let place = Place::new().await;
    let mut child = place.start("one.key").await;
    let issued = Authority::new().issue("a.example.com", 2999);
    place.put(&issued).await;
    child.kill().await.unwrap();
    let data = place.path("data");
    let (mut now, mut next) = ("one.key", "two.key");
    for round in 0..12 {
        let mut rotate = place.rotation(now, next).spawn().unwrap();
        let ended = timeout(Duration::from_millis(round * 4), rotate.wait()).await;
        if ended.is_err() {
            rotate.kill().await.unwrap();
        }
        match SledStore::open(&data, Some(&place.key(next))) {
            Ok(_) => std::mem::swap(&mut now, &mut next),
            Err(StoreError::Key(_)) => assert!(ended.is_err()),
            Err(other) => panic!("{other}"),
        }
        let store = SledStore::open(&data, Some(&place.key(now))).unwrap();
        assert_eq!(store.load().unwrap().records.len(), 1);
    }
}

#[tokio::test]
async fn without_a_master_key_no_secret_is_taken_and_everything_else_is() {
    let server = Server::start_with(|config| config.master_key = None).await;
    let issued = Authority::new().issue("a.example.com", 2999);
    for path in ["/v1/secrets/web", "/v1/secrets/web?dry_run=true"] {
        let faults = server
            .put(path, &issued.body())
            .await
            .faults(422, Code::Invalid);
        assert_eq!(
            faults,
            [
                "secrets/web: cannot be stored: the server has no master key to encrypt it with. Make one with `(umask 077; fleetway-xds generate-key > FILE)` and start the server with --master-key-file FILE"
            ]
        );
    }
    server
        .put("/v1/clusters/a", "{}")
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_secret_that_expires_where_it_is_stored_keeps_the_server_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let key = MasterKey::generate().unwrap();
    let expired = Authority::new().issue("a.example.com", 2020);
    let message = v1::Resource {
        kind: Some(v1::resource::Kind::Secret(v1::Secret {
            name: "web".to_owned(),
            kind: Some(v1::secret::Kind::Certificate(v1::Certificate {
                chain: expired.chain.clone(),
                private_key: expired.key.clone(),
                ocsp_response: None,
            })),
            ..v1::Secret::default()
        })),
    };
    let id = Id::new(Kind::Secret, Name::new("web").unwrap());
    let record = Record {
        message,
        version: 1,
        created_ms: 0,
        updated_ms: 0,
        updated_by: "me".into(),
    };
    let revision = v1::Revision {
        number: 1,
        changes: vec![v1::Change {
            before: None,
            after: Some(record.message.clone()),
        }],
        ..v1::Revision::default()
    };
    {
        let store = SledStore::open(dir.path(), Some(&key)).unwrap();
        let commit = Commit {
            revision: &revision,
            records: &[(id.clone(), Some(record))],
            epoch: None,
            receipt: None,
            idle: &[],
            oldest_kept: 1,
        };
        store.commit(&commit).unwrap();
    }
    let store = SledStore::open(dir.path(), Some(&key)).unwrap();
    let committer = Committer::open(Arc::new(store), 0).unwrap();
    assert!(committer.snapshot().get(&id).is_some());
    drop(committer);
    let server = Server::start_with(|config| {
        config.data = dir.path().to_owned();
        config.master_key = Some(key);
    });
    let server = server.await;
    server
        .patch("/v1/secrets/web", "labels: {old: 'yes'}")
        .await
        .ok();
    let other = Authority::new().issue("a.example.com", 2020);
    let faults = server
        .put("/v1/secrets/web", &other.body())
        .await
        .faults(422, Code::Invalid);
    assert!(faults[0].contains("expired at"), "{faults:?}");
}

#[test]
fn what_has_no_secrets_has_nothing_to_rotate() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        MasterKey::generate().unwrap(),
        MasterKey::generate().unwrap(),
    );
    let error = SledStore::rotate(dir.path(), &one, &two).unwrap_err();
    assert!(
        error.to_string().contains("holds no data of fleetway-xds"),
        "{error}"
    );
    drop(SledStore::open(dir.path(), Some(&one)).unwrap());
    assert_eq!(
        SledStore::rotate(dir.path(), &one, &two).unwrap(),
        Rotated::Nothing
    );
    // Nobody's key is needed as long as there is nothing to open.
    drop(SledStore::open(dir.path(), Some(&two)).unwrap());
    drop(SledStore::open(dir.path(), None).unwrap());
}

/// The blocks of a page that are in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let parts = page.split(begin.as_str()).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap())
        .collect()
}

#[tokio::test]
async fn the_page_on_secrets_says_what_works() {
    let page = include_str!("../../../docs/secrets.md");
    let folder = tempfile::tempdir().unwrap();
    let place = Place { folder };
    let program = Path::new(env!("CARGO_BIN_EXE_fleetway-xds"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let issued = Authority::new().issue("a.example.com", 2999);
    let written: Vec<serde_json::Value> = blocks(page, "yaml")
        .into_iter()
        .map(|block| {
            let mut document = fleetway_api::document::parse(block, Format::Yaml)
                .unwrap()
                .remove(0);
            if document["kind"] == "Secret" {
                let body: serde_json::Value = serde_json::from_str(&issued.body()).unwrap();
                document["certificate"] = body["certificate"].clone();
            }
            serde_json::json!({"put": document})
        })
        .collect();
    assert_eq!(written.len(), 2, "a secret and a listener");
    let transaction = serde_json::json!({"operations": written}).to_string();
    let mut started = 0;
    for line in blocks(page, "sh").into_iter().flat_map(str::lines) {
        if line.starts_with("fleetway edit") {
            continue;
        }
        let mut shell = Command::new("sh");
        shell
            .current_dir(place.folder.path())
            .env("PATH", &path)
            .kill_on_drop(true);
        if !line.starts_with("fleetway-xds --data") {
            let output = ended({
                shell.args(["-c", line]);
                shell
            })
            .await;
            assert!(output.status.success(), "{line}: {output:?}");
            continue;
        }
        let log = fs::File::create(place.path("log")).unwrap();
        shell.args([
            "-c",
            &format!("exec {line} --rest 127.0.0.1:0 --xds 127.0.0.1:0"),
        ]);
        let mut child = shell.stderr(Stdio::from(log)).spawn().unwrap();
        place.serves().await;
        let base = rest(&place.path("data"));
        if started == 0 {
            let post = reqwest::Client::new().post(format!("{base}/v1/transactions"));
            let answer = post.body(transaction.clone()).send().await.unwrap();
            assert!(
                answer.status().is_success(),
                "{}",
                answer.text().await.unwrap()
            );
        }
        assert!(place.secret().await.contains("[redacted sha256:"));
        started += 1;
        child.kill().await.unwrap();
    }
    assert_eq!(started, 2, "under the first key and under the second");
}
