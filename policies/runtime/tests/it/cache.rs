//! What is kept of compiled components from one start to the next, and what is not believed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use fleetway_policy_runtime::{Decision, Options, Program, Runtime};
use http::Request;
use serde_json::json;

use crate::support::{bytes, subject, unit};

/// A policy that is compiled quickly.
const POLICY: &str = "header-rules";
const OTHER: &str = "geo-route";

/// A process that has just been started.
fn start(folder: &Path, fuel: bool) -> Arc<Runtime> {
    let options = Options {
        calls: 4,
        cache: Some(folder.to_owned()),
        fuel,
    };
    Runtime::new(options).expect("a runtime")
}

/// Starts, and uses the policy; gives how many components were compiled.
async fn compiled(folder: &Path) -> u64 {
    let runtime = start(folder, false);
    let program = Program::compile(&runtime, &bytes(POLICY)).expect("a policy");
    let config = json!({"request": [{"set": {"name": "x-a", "value": "1"}}]});
    let unit = unit(program, "rules", &config);
    let started = unit.start(subject(Request::get("/"))).await;
    let mut call = started.map_err(|(_, failure)| failure).expect("a call");
    assert_eq!(call.pre_route().await, Ok(Decision::Continue));
    assert_eq!(call.into_subject().request.headers["x-a"], "1");
    runtime.compiled()
}

/// The files in a folder, but the key.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.ends_with("key"))
        .collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn the_second_start_compiles_nothing() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("compiled");
    assert_eq!(compiled(&folder).await, 1);
    let kept = files(&folder);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&kept[0]), 0o600);
    assert_eq!(mode(&folder.join("key")), 0o600);
    assert_eq!(compiled(&folder).await, 0);
}

#[tokio::test]
async fn what_was_changed_is_compiled_anew() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path();
    assert_eq!(compiled(folder).await, 1);
    let kept = files(folder).remove(0);
    let good = fs::read(&kept).unwrap();
    for at in [0, 31, 32, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&kept, bad).unwrap();
        assert_eq!(compiled(folder).await, 1, "a flipped bit at {at}");
        assert_eq!(compiled(folder).await, 0, "written anew");
    }
    for length in [0, 31, 32, good.len() - 1] {
        fs::write(&kept, &good[..length]).unwrap();
        assert_eq!(compiled(folder).await, 1, "{length} bytes");
    }
    fs::write(&kept, &good).unwrap();
    assert_eq!(compiled(folder).await, 0);
}

#[tokio::test]
async fn one_component_does_not_stand_for_another() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path();
    Program::compile(&start(folder, false), &bytes(OTHER)).unwrap();
    let other = files(folder).remove(0);
    assert_eq!(compiled(folder).await, 1);
    let kept = files(folder)
        .into_iter()
        .find(|path| *path != other)
        .unwrap();
    fs::rename(&other, &kept).unwrap();
    assert_eq!(compiled(folder).await, 1);
}

#[tokio::test]
async fn a_key_others_may_know_is_replaced_and_with_it_all_it_has_vouched_for() {
    let state = tempfile::tempdir().unwrap();
    let (folder, elsewhere) = (state.path().join("compiled"), state.path().join("else"));
    assert_eq!(compiled(&folder).await, 1);
    let key = folder.join("key");
    let first = fs::read(&key).unwrap();
    fs::write(&elsewhere, [0; 32]).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
    let spoil: [(&str, &dyn Fn()); 4] = [
        ("readable by others", &|| {
            fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        }),
        ("too short", &|| fs::write(&key, [0; 31]).unwrap()),
        ("gone", &|| fs::remove_file(&key).unwrap()),
        ("a link", &|| {
            fs::remove_file(&key).unwrap();
            symlink(&elsewhere, &key).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        spoil();
        assert_eq!(compiled(&folder).await, 1, "{what}");
        assert_eq!(mode(&key), 0o600, "{what}");
        assert_eq!(compiled(&folder).await, 0, "{what}");
        assert_ne!(fs::read(&key).unwrap(), first, "{what}");
    }
    assert_eq!(fs::read(&elsewhere).unwrap(), [0; 32]);
    // A good key, but another than it was written with.
    fs::write(&key, [7; 32]).unwrap();
    assert_eq!(compiled(&folder).await, 1);
}

#[tokio::test]
async fn what_other_settings_have_made_is_not_taken() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path();
    assert_eq!(compiled(folder).await, 1);
    let runtime = start(folder, true);
    Program::compile(&runtime, &bytes(POLICY)).unwrap();
    assert_eq!(runtime.compiled(), 1);
    let [one, two] = files(folder).try_into().unwrap();
    // Under the name of the others it is not taken either.
    let (first, second) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    fs::write(&one, second).unwrap();
    fs::write(&two, first).unwrap();
    assert_eq!(compiled(folder).await, 1);
}

#[tokio::test]
async fn what_is_no_longer_needed_is_removed() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path();
    Program::compile(&start(folder, true), &bytes(POLICY)).unwrap();
    let runtime = start(folder, false);
    Program::compile(&runtime, &bytes(OTHER)).unwrap();
    Program::compile(&runtime, &bytes(POLICY)).unwrap();
    fs::write(folder.join("half.4711.tmp"), "").unwrap();
    fs::write(folder.join("notes"), "not ours").unwrap();
    assert_eq!(files(folder).len(), 5);
    let digests = fs::read_to_string(crate::support::folder().join("DIGESTS")).unwrap();
    let line = digests.lines().find(|line| line.contains(POLICY)).unwrap();
    let digest = line.split(' ').next().unwrap();
    runtime.retain(&[digest]);
    let left: Vec<String> = files(folder)
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(left[0].starts_with(digest), "{left:?}");
    assert_eq!(left[1..], ["notes"]);
    drop(runtime);
    assert_eq!(compiled(folder).await, 0);
    start(folder, false).retain(&[]);
    assert_eq!(files(folder).len(), 1);
    assert!(folder.join("key").exists());
}

#[tokio::test]
async fn without_a_folder_to_write_to_policies_run_all_the_same() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("compiled");
    fs::write(&file, "a file").unwrap();
    assert_eq!(compiled(&file).await, 1);
    assert_eq!(fs::read(&file).unwrap(), b"a file");
}
