//! On real files, with real events.

use std::{fs::File, io::Write as _, os::unix::fs::symlink};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    snapshot::Update,
    xds::{Source, Status, run},
};

const CLUSTER: &str = "kind: Cluster\nname: c\nendpoints: [{address: \"127.0.0.1:1\"}]\n";

fn route(name: &str, prefix: &str) -> String {
    format!(
        "kind: Route\nname: {name}\nmatch: {{path: {{prefix: {prefix}}}}}\nforward: {{clusters: [{{name: c}}]}}\n"
    )
}

/// A proxy on a folder; every update it is handed comes out at `updates`.
struct Follower {
    updates: mpsc::Receiver<Update>,
    status: Status,
    shutdown: CancellationToken,
    task: task::JoinHandle<Result<(), StartError>>,
}

struct Workers(mpsc::Sender<Update>);

impl Apply for Workers {
    async fn apply(&self, update: Update) -> Result<(), Vec<FieldError>> {
        self.0.send(update).await.unwrap();
        Ok(())
    }
}

impl Follower {
    fn start(folder: &Path) -> Self {
        Self::go_on(folder, Status::new())
    }

    /// One that has in force what `status` says.
    fn go_on(folder: &Path, status: Status) -> Self {
        let (sender, updates) = mpsc::channel(8);
        let shutdown = CancellationToken::new();
        let source = Source::Folder {
            folder: folder.to_owned(),
            fleet: "edge".into(),
        };
        let task = tokio::spawn(run(
            source,
            Workers(sender),
            status.clone(),
            shutdown.clone(),
        ));
        Self {
            updates,
            status,
            shutdown,
            task,
        }
    }

    /// The next update: its revision and what changed.
    async fn update(&mut self) -> (u64, String) {
        let update = self.updates.recv().await.expect("it goes on");
        let changed: Vec<_> = update.changed.iter().map(ToString::to_string).collect();
        (update.revision, changed.join(" "))
    }

    /// Waits for the next refusal and returns what it says.
    async fn refusal(&self, containing: &str) -> String {
        let mut reports = self.status.subscribe();
        let says = |message: &str| message.contains(containing);
        let report = reports
            .wait_for(|report| {
                report
                    .last_error
                    .as_ref()
                    .is_some_and(|error| says(&error.message))
            })
            .await
            .unwrap();
        report.last_error.clone().unwrap().message
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Writes a file in one step, so that no reader sees half of it.
fn put(folder: &TempDir, name: &str, text: &str) {
    let temporary = folder.path().join(".new");
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, folder.path().join(name)).unwrap();
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_wasm_file_is_the_component_that_its_bytes_name() {
    // The SHA-256 of the eight bytes a component begins with.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    const DIGEST: &str = "24eaf3439a60c96764c4f2c92a0a81b52bd4fe5d5b91f090184a0f6486b1bf29";
    let policy = format!("kind: Policy\nname: p\ncomponent: {DIGEST}\n");
    let folder = folder(&[("p.yaml", &policy)]);
    fs::write(folder.path().join("any name.wasm"), EMPTY).unwrap();
    let mut follower = Follower::start(folder.path());
    let changed = format!("components/{DIGEST} policies/p");
    assert_eq!(follower.update().await, (1, changed));

    fs::write(folder.path().join("other.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let refusal = follower.refusal("core module").await;
    assert!(refusal.contains("other.wasm: components/"), "{refusal}");
    fs::remove_file(folder.path().join("other.wasm")).unwrap();
    put(&folder, "p.yaml", &format!("{policy}fail_open: true\n"));
    assert_eq!(follower.update().await, (2, "policies/p".into()));
    follower.stop().await;
}

#[tokio::test]
async fn an_edit_is_one_update_of_what_changed() {
    let folder = folder(&[("c.yaml", CLUSTER), ("r.yml", &route("a", "/a"))]);
    let mut follower = Follower::start(folder.path());
    assert_eq!(follower.update().await, (1, "clusters/c routes/a".into()));
    let mut file = File::options()
        .append(true)
        .open(folder.path().join("r.yml"))
        .unwrap();
    file.write_all(
        format!(
            "---
{}",
            route("b", "/b")
        )
        .as_bytes(),
    )
    .unwrap();
    assert_eq!(follower.update().await, (2, "routes/b".into()));
    let held = follower.status.held();
    let version = |name: &str| {
        let id = Id::new(fleetway_api::Kind::Route, name.parse().unwrap());
        held.resources().get(&id).unwrap().data.version.to_string()
    };
    assert_eq!((version("a").as_str(), version("b").as_str()), ("1", "2"));

    // As an editor does it: a temporary file, then a rename.
    fs::write(folder.path().join("r.yml~"), "not: [yaml").unwrap();
    fs::write(folder.path().join(".r.yml.swp"), "not: [yaml").unwrap();
    fs::write(folder.path().join("4913"), route("a", "/other")).unwrap();
    fs::rename(folder.path().join("4913"), folder.path().join("r.yml")).unwrap();
    assert_eq!(follower.update().await, (3, "routes/a routes/b".into()));
    fs::remove_file(folder.path().join("r.yml")).unwrap();
    assert_eq!(follower.update().await, (4, "routes/a".into()));
    follower.stop().await;
}

#[tokio::test]
async fn a_bad_edit_names_file_and_field_and_what_was_in_force_stays() {
    let folder = folder(&[("c.yaml", CLUSTER), ("r.yaml", &route("a", "/a"))]);
    let mut follower = Follower::start(folder.path());
    follower.update().await;
    put(&folder, "r.yaml", &route("a", "no-slash"));
    let said = follower.refusal("match").await;
    assert!(
        said.contains("r.yaml: routes/a: match.path.prefix: "),
        "{said}"
    );
    fs::remove_file(folder.path().join("c.yaml")).unwrap();
    put(&folder, "r.yaml", &route("b", "/a"));
    let said = follower.refusal("clusters/c").await;
    assert!(
        said.contains("r.yaml: routes/b: forward.clusters[0].name: there is no"),
        "{said}"
    );
    assert_eq!(follower.status.report().served.unwrap().revision.number, 1);

    put(&folder, "c.yaml", CLUSTER);
    assert_eq!(follower.update().await, (2, "routes/a routes/b".into()));
    // The status follows the update.
    let mut reports = follower.status.subscribe();
    reports
        .wait_for(|report| report.last_error.is_none())
        .await
        .unwrap();
    follower.stop().await;
}

#[tokio::test]
async fn a_volume_that_swaps_a_symbolic_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, route) in [("..v1", route("a", "/a")), ("..v2", route("b", "/b"))] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("all.yaml"), format!("{CLUSTER}---\n{route}")).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/all.yaml", at("all.yaml")).unwrap();
    let mut follower = Follower::start(folder.path());
    assert_eq!(follower.update().await, (1, "clusters/c routes/a".into()));
    symlink("..v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(follower.update().await, (2, "routes/a routes/b".into()));
    follower.stop().await;
}

#[tokio::test]
async fn another_folder_put_in_its_place_is_followed_from_then_on() {
    let parent = tempfile::tempdir().unwrap();
    let at = |name: &str| parent.path().join(name);
    for (name, prefix) in [("one", "/1"), ("two", "/2")] {
        fs::create_dir(at(name)).unwrap();
        fs::write(
            at(name).join("all.yaml"),
            format!("{CLUSTER}---\n{}", route("a", prefix)),
        )
        .unwrap();
    }
    symlink("one", at("current")).unwrap();
    let mut follower = Follower::start(&at("current"));
    follower.update().await;
    symlink("two", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    assert_eq!(follower.update().await, (2, "routes/a".into()));
    fs::write(at("two").join("more.yaml"), route("b", "/b")).unwrap();
    assert_eq!(follower.update().await, (3, "routes/b".into()));
    follower.stop().await;
}

#[tokio::test]
async fn a_bad_folder_is_a_start_error_that_lists_every_fault() {
    let folder = folder(&[
        ("a.yaml", CLUSTER),
        ("b.yaml", CLUSTER),
        (
            "c.json",
            "{\"kind\": \"Route\", \"name\": \"r\", \"mach\": {}}",
        ),
        ("d.yaml", "[unclosed"),
        ("e.yaml", &route("e", "/e")),
        ("f.yaml", &route("f", "/e")),
    ]);
    let follower = Follower::start(folder.path());
    let error = follower.task.await.unwrap().unwrap_err().to_string();
    for part in [
        "b.yaml: clusters/c: is also in a.yaml: keep one of the two",
        "c.json: routes/r: mach: ",
        "\n  d.yaml: ",
        "f.yaml: routes/f: match: takes the same requests as routes/e",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let missing = Follower::start(&folder.path().join("nowhere"));
    let error = missing.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("nowhere cannot be watched"), "{error}");
}

#[test]
fn a_proxy_takes_what_goes_to_its_fleet_and_all_is_judged() {
    let fleets = |of: &str| format!("{CLUSTER}fleets: [{of}]\n");
    let here = folder(&[("c.yaml", &fleets("edge"))]);
    let other = folder(&[("c.yaml", &fleets("core"))]);
    let count = |folder: &TempDir| {
        let found = read(folder.path()).unwrap();
        candidate(&found, "edge", &Held::default())
            .unwrap()
            .map(|next| next.changed.len())
    };
    assert_eq!(count(&here), Some(1));
    assert_eq!(count(&other), None);
    fs::write(
        other.path().join("r.yaml"),
        format!("{}fleets: [core, lab]\n", route("a", "/a")),
    )
    .unwrap();
    let found = read(other.path()).unwrap();
    let faults = candidate(&found, "edge", &Held::default()).unwrap_err();
    assert!(
        faults[0]
            .to_string()
            .starts_with("r.yaml: routes/a: forward.clusters[0].name: "),
        "{}",
        faults[0]
    );
}

#[test]
fn faults_of_the_files_and_of_what_they_form_come_together() {
    let folder = folder(&[
        ("c.yaml", "kind: Cluster\nname: c\nconnect_timeout: 0s\n"),
        ("r.yaml", &route("a", "/a")),
        ("s.yaml", &route("b", "/b").replace("name: c", "name: gone")),
    ]);
    let faults = read(folder.path()).unwrap_err();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "c.yaml: clusters/c: connect_timeout: must be between 1ms and 5m",
            "s.yaml: routes/b: forward.clusters[0].name: there is no clusters/gone: add it too, or refer to one that is there",
        ]
    );
}

#[test]
fn the_documented_files_are_a_folder_that_holds_together() {
    let text = include_str!("../../../../docs/operating-proxies.md");
    let blocks = text.split("```yaml\n").skip(1);
    let folder = tempfile::tempdir().unwrap();
    for (index, block) in blocks.enumerate() {
        let (yaml, _) = block.split_once("```").unwrap();
        fs::write(folder.path().join(format!("{index}.yaml")), yaml).unwrap();
    }
    let found = read(folder.path()).unwrap();
    let next = candidate(&found, "edge", &Held::default())
        .unwrap()
        .unwrap();
    assert_eq!(next.changed.len(), 3);
}

#[tokio::test]
async fn what_is_in_force_is_gone_on_from_whatever_the_folder_is_by_then() {
    let folder = folder(&[("c.yaml", CLUSTER), ("r.yaml", &route("a", "/a"))]);
    let mut follower = Follower::start(folder.path());
    assert_eq!(follower.update().await, (1, "clusters/c routes/a".into()));
    let status = follower.status.clone();
    follower.stop().await;

    // Bad by then: what is in force stays, and is what the next edit is one of.
    put(&folder, "b.yaml", "kind: Nope");
    let mut follower = Follower::go_on(folder.path(), status.clone());
    follower.refusal("b.yaml").await;
    put(&folder, "b.yaml", &route("b", "/b"));
    assert_eq!(follower.update().await, (2, "routes/b".into()));
    follower.stop().await;

    // Gone by then.
    let aside = folder.path().with_extension("aside");
    fs::rename(folder.path(), &aside).unwrap();
    let mut follower = Follower::go_on(folder.path(), status.clone());
    follower.refusal("cannot be watched").await;
    fs::rename(&aside, folder.path()).unwrap();
    let mut reports = status.subscribe();
    reports
        .wait_for(|report| report.last_error.is_none())
        .await
        .unwrap();
    put(&folder, "b.yaml", &route("b", "/other"));
    assert_eq!(follower.update().await, (3, "routes/b".into()));
    follower.stop().await;
}
