use fleetway_api::{Id, Kind, Name};

use super::*;
use crate::{snapshot::Epoch, store::Record};

fn cluster(name: &str, version: u64) -> (Id, Option<Record>) {
    let message = v1::Resource {
        kind: Some(v1::resource::Kind::Cluster(v1::Cluster {
            name: name.into(),
            ..v1::Cluster::default()
        })),
    };
    let record = Record {
        message,
        version,
        created_ms: 5,
        updated_ms: 6,
        updated_by: "me".into(),
    };
    (
        Id::new(Kind::Cluster, Name::new(name).unwrap()),
        Some(record),
    )
}

fn revision(number: u64, time_ms: i64, changes: usize) -> v1::Revision {
    v1::Revision {
        number,
        time_ms,
        author: "me".into(),
        message: format!("number {number}"),
        changes: (0..changes)
            .map(|index| v1::Change {
                before: None,
                after: cluster(&format!("c{index}"), number)
                    .1
                    .map(|record| record.message),
            })
            .collect(),
    }
}

fn receipt(time_ms: i64) -> Receipt {
    Receipt {
        fingerprint: "f".into(),
        time_ms,
        response: TransactionResponse {
            revision: 1,
            dry_run: false,
            results: vec![OperationResult {
                id: Id::new(Kind::Cluster, Name::new("a").unwrap()),
                outcome: Outcome::Created,
            }],
        },
    }
}

use fleetway_api::rest::{OperationResult, Outcome, TransactionResponse};

fn commit(
    store: &SledStore,
    revision: &v1::Revision,
    records: &[(Id, Option<Record>)],
    receipt: Option<(&str, &Receipt)>,
) -> Result<(), StoreError> {
    let epoch = Epoch {
        first: revision.number,
        id: 7,
    };
    store.commit(&Commit {
        revision,
        records,
        // As if the server had been started before each but the second.
        epoch: (revision.number != 2).then_some(epoch),
        receipt,
        idle: &[],
        oldest_kept: 1,
    })
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (cluster("a", 1), cluster("b", 1));
    {
        let store = SledStore::open(dir.path(), None).unwrap();
        assert_eq!(store.load().unwrap().revision, 0);
        let kept = receipt(10);
        commit(
            &store,
            &revision(1, 10, 2),
            &[a.clone(), b.clone()],
            Some(("key", &kept)),
        )
        .unwrap();
        commit(&store, &revision(2, 20, 300), &[(a.0, None)], None).unwrap();
    }
    let store = SledStore::open(dir.path(), None).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!((loaded.revision, loaded.time_ms), (2, 20));
    let epochs = [1, 2, 0].map(|number| loaded.history.position(number).epoch);
    assert_eq!(epochs, [7, 7, 0]);
    assert_eq!(loaded.records, [b.1.unwrap()]);
    assert_eq!(store.revision(2).unwrap(), Some(revision(2, 20, 300)));
    assert_eq!(store.revision(3).unwrap(), None);
    let heads = store.revisions(u64::MAX, 10).unwrap();
    let seen: Vec<_> = heads
        .iter()
        .map(|head| (head.number, head.changed))
        .collect();
    assert_eq!(seen, [(2, 300), (1, 2)]);
    assert_eq!(store.revisions(2, 10).unwrap().len(), 1);
    assert_eq!(store.receipt("key").unwrap(), Some(receipt(10)));
    assert_eq!(store.receipt("other").unwrap(), None);
}

#[test]
fn a_commit_for_another_state_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path(), None).unwrap();
    let error = commit(&store, &revision(2, 1, 1), &[cluster("a", 2)], None).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Conflict {
                expected: 1,
                found: 0
            }
        ),
        "{error}"
    );
    assert!(store.load().unwrap().records.is_empty());
    assert_eq!(store.revision(2).unwrap(), None);
    commit(&store, &revision(1, 1, 1), &[cluster("a", 1)], None).unwrap();
}

#[test]
fn large_changes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path(), None).unwrap();
    let (id, record) = cluster("a", 1);
    let mut record = record.unwrap();
    record.updated_by = "x".repeat(3 << 20);
    commit(&store, &revision(1, 1, 5000), &[(id, Some(record))], None).unwrap();
    drop(store);
    let store = SledStore::open(dir.path(), None).unwrap();
    assert_eq!(store.load().unwrap().records[0].updated_by.len(), 3 << 20);
    assert_eq!(store.revision(1).unwrap().unwrap().changes.len(), 5000);
}

#[test]
fn receipts_are_kept_for_a_day_and_then_removed_a_few_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path(), None).unwrap();
    for number in 0..40 {
        store
            .keep(&format!("key {number}"), &receipt(1000))
            .unwrap();
    }
    store
        .keep("late", &receipt(1000 + RECEIPT_LIFE_MS))
        .unwrap();
    assert_eq!(store.trees.receipts.len(), 41, "a day is not over");
    let after = 1001 + RECEIPT_LIFE_MS;
    let mut left = Vec::new();
    for number in 1..=3 {
        commit(&store, &revision(number, after, 0), &[], None).unwrap();
        left.push(store.trees.receipts.len());
    }
    assert_eq!(left, [25, 9, 1]);
    assert_eq!(store.trees.receipt_times.len(), 1);
    assert!(store.receipt("late").unwrap().is_some());
}

/// Commits revision `number` with `changes` changes to a log that keeps `keep`.
fn commit_keeping(store: &SledStore, number: u64, changes: usize, keep: u64) {
    store
        .commit(&Commit {
            revision: &revision(number, 1, changes),
            records: &[],
            epoch: None,
            receipt: None,
            idle: &[],
            oldest_kept: (number + 1).saturating_sub(keep),
        })
        .unwrap();
}

fn logged(store: &SledStore) -> Vec<u64> {
    let heads = store.revisions(u64::MAX, 1000).unwrap();
    heads.iter().rev().map(|head| head.number).collect()
}

#[test]
fn revisions_older_than_the_log_is_to_keep_go_with_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path(), None).unwrap();
    for number in 1..=20 {
        commit_keeping(&store, number, 3, 5);
    }
    drop(store);
    let store = SledStore::open(dir.path(), None).unwrap();
    assert_eq!(store.load().unwrap().revision, 20);
    assert_eq!(logged(&store), [16, 17, 18, 19, 20]);
    assert_eq!(store.trees.changes.len(), 5 * 3);
    assert_eq!(store.revision(15).unwrap(), None);
    assert_eq!(store.revision(16).unwrap(), Some(revision(16, 1, 3)));
}

#[test]
fn a_log_that_is_to_keep_much_less_shrinks_a_few_revisions_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path(), None).unwrap();
    for number in 1..=40 {
        commit_keeping(&store, number, if number == 2 { 500 } else { 1 }, 100);
    }
    for number in 41..=80 {
        commit_keeping(&store, number, 1, 5);
        for number in logged(&store) {
            let revision = store.revision(number).unwrap();
            assert!(revision.is_some(), "{number} lacks changes");
        }
    }
    assert_eq!(logged(&store), [76, 77, 78, 79, 80]);
    assert_eq!(store.trees.changes.len(), 5);
}

#[test]
fn a_directory_written_by_a_newer_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path(), None).unwrap();
    store.trees.meta.insert(FORMAT_KEY, b"4").unwrap();
    store.trees.meta.flush().unwrap();
    drop(store);
    let error = SledStore::open(dir.path(), None).unwrap_err();
    assert!(matches!(error, StoreError::Format(_)), "{error}");
    assert!(
        error.to_string().ends_with(
            "was written by a newer fleetway-xds (format 4, this one reads 3): start that version"
        ),
        "{error}"
    );
}

#[test]
fn a_store_that_lost_committed_revisions_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join(FOLDER).join("db");
    let store = SledStore::open(dir.path(), None).unwrap();
    for number in 1..=12 {
        commit(
            &store,
            &revision(number, 1, 1),
            &[cluster("a", number)],
            None,
        )
        .unwrap();
    }
    drop(store);
    let whole = fs::read(&log).unwrap();
    // Without its snapshot sled has the log alone, as after a crash.
    let snapshots = fs::read_dir(dir.path().join(FOLDER)).unwrap();
    for entry in snapshots.map(Result::unwrap) {
        if entry.file_name().as_encoded_bytes().starts_with(b"snap") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() / 2], &[]] {
        fs::write(&log, damaged).unwrap();
        let error = SledStore::open(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
    fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
    let error = SledStore::open(dir.path(), None).unwrap_err().to_string();
    assert!(
        error.contains("ends at revision 0, but revision 12 was committed")
            && error.contains("Restore the directory from a copy"),
        "{error}"
    );
    fs::remove_file(dir.path().join(Mark::NAME)).unwrap();
    assert_eq!(
        SledStore::open(dir.path(), None)
            .unwrap()
            .load()
            .unwrap()
            .revision,
        0
    );
}

#[test]
fn a_directory_open_already_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let _store = SledStore::open(dir.path(), None).unwrap();
    let error = SledStore::open(dir.path(), None).unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert!(
        error.to_string().contains(dir.path().to_str().unwrap())
            && error.to_string().contains("stop it first"),
        "{error}"
    );
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), b"x").unwrap();
    let error = SledStore::open(dir.path(), None).unwrap_err();
    assert!(matches!(error, StoreError::Format(_)), "{error}");
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_sled_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = sled::open(dir.path().join(FOLDER)).unwrap();
    other.insert("some", "thing").unwrap();
    other.flush().unwrap();
    drop(other);
    let error = SledStore::open(dir.path(), None).unwrap_err();
    assert!(
        error.to_string().contains("not written by fleetway-xds"),
        "{error}"
    );
}

#[test]
fn what_is_printed_of_a_store_is_short_and_holds_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path(), Some(&MasterKey::generate().unwrap())).unwrap();
    let records: Vec<_> = (0..50).map(|n| cluster(&format!("c{n}"), 1)).collect();
    commit(&store, &revision(1, 10, 50), &records, None).unwrap();
    let printed = format!("{store:?}");
    assert!(printed.starts_with("SledStore {"), "{printed}");
    assert!(printed.len() < 300, "{printed}");
}

#[test]
fn the_bytes_of_a_component_stand_beside_the_trees() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = b"\0asm\x0d\0\x01\0 the bytes of one";
    let digest = fleetway_api::component_digest(wasm);
    let id = Id::new(Kind::Component, Name::new(&digest).unwrap());
    let component = |wasm: &'static [u8]| v1::Resource {
        kind: Some(v1::resource::Kind::Component(v1::Component {
            name: digest.clone(),
            wasm: bytes::Bytes::from_static(wasm),
            ..v1::Component::default()
        })),
    };
    let (_, mut record) = cluster("c", 1);
    record.as_mut().unwrap().message = component(wasm);
    let made = v1::Revision {
        changes: vec![v1::Change {
            before: None,
            after: Some(component(wasm)),
        }],
        ..revision(1, 10, 0)
    };
    let file = dir.path().join(format!("components/{digest}.wasm"));
    {
        let store = SledStore::open(dir.path(), None).unwrap();
        store
            .commit(&Commit {
                revision: &made,
                records: &[(id.clone(), record.clone())],
                epoch: None,
                receipt: None,
                idle: &[(id.name.clone(), Some(10))],
                oldest_kept: 1,
            })
            .unwrap();
        assert_eq!(fs::read(&file).unwrap(), wasm);
    }
    // What a process left that ended before the commit is gone with the next start.
    let left = dir
        .path()
        .join(format!("components/{}.wasm", "0".repeat(64)));
    fs::write(&left, b"left").unwrap();
    let store = SledStore::open(dir.path(), None).unwrap();
    assert_eq!(store.trees.meta.get(FORMAT_KEY).unwrap().unwrap(), b"3");
    let loaded = store.load().unwrap();
    assert_eq!(loaded.records, [record.unwrap()]);
    assert_eq!(loaded.idle, [(id.name.clone(), 10)].into());
    assert!(!left.exists());
    // The log has the change, and not the bytes.
    let logged = store.revision(1).unwrap().unwrap();
    assert_eq!(logged.changes[0].after, Some(component(b"")));

    fs::rename(&file, &left).unwrap();
    let error = store.load().unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
    fs::rename(&left, &file).unwrap();
    store
        .commit(&Commit {
            revision: &revision(2, 20, 0),
            records: &[(id.clone(), None)],
            epoch: None,
            receipt: None,
            idle: &[(id.name, None)],
            oldest_kept: 1,
        })
        .unwrap();
    assert!(!file.exists());
    assert!(store.load().unwrap().idle.is_empty());
}
