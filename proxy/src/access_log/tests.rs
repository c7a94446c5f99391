//! Batches on their way to a file, without a proxy around them.

use std::{fs, sync::Arc, time::Duration};

use fleetway_api as api;

use super::{AccessLog, Buffers, Logs, field};
use crate::telemetry::ListenerCounters;

const LONG: Duration = Duration::from_secs(30);

fn file(path: &std::path::Path) -> api::AccessLog {
    api::AccessLog::File(path.into())
}

fn put(buffers: &Buffers, log: &Arc<AccessLog>, number: u64) {
    let mut line = buffers.line();
    line.number(field!("n"), number);
    buffers.put(log, line, |_| {});
}

#[test]
fn lines_of_several_workers_are_whole_and_each_workers_are_in_order() {
    const LINES: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (logs, counters) = (Logs::default(), Arc::new(ListenerCounters::new(2)));
    let log = Arc::new(AccessLog::open(&logs, &file(&path), counters.clone()).unwrap());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let log = &log;
            scope.spawn(move || {
                let buffers = Buffers::new(worker);
                for number in 0..LINES {
                    put(&buffers, log, number * 2 + worker as u64);
                }
            });
        }
    });
    assert!(logs.finish(LONG));
    let text = fs::read_to_string(&path).unwrap();
    let numbers: Vec<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["n"]
                .as_u64()
                .unwrap()
        })
        .collect();
    for worker in 0..2 {
        let of_one = numbers.iter().filter(|number| **number % 2 == worker);
        assert!(of_one.eq(&(0..LINES).map(|n| n * 2 + worker).collect::<Vec<_>>()));
    }
    assert_eq!(counters.access_log.get(), (2 * LINES, 0, 0));
}

#[test]
fn a_path_is_opened_once_and_its_thread_ends_with_its_last_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let logs = Logs::default();
    let open = || logs.open(&file(&path)).unwrap();
    let (one, two) = (open(), open());
    assert!(Arc::ptr_eq(&one, &two));
    drop((one, two));
    // Nobody is told to finish; there is nothing left to wait for.
    let three = open();
    drop(three);
    assert!(logs.finish(LONG));
    assert!(logs.open(&file(folder.path())).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_line_waits_for_others_only_so_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (logs, counters) = (Logs::default(), Arc::new(ListenerCounters::new(1)));
    let log = Arc::new(AccessLog::open(&logs, &file(&path), counters.clone()).unwrap());
    let buffers = Buffers::new(0);
    put(&buffers, &log, 1);
    let flushed = tokio::time::timeout(Duration::from_millis(60), buffers.keep_flushing());
    assert!(flushed.await.is_err());
    assert!(logs.finish(LONG));
    assert_eq!(counters.access_log.get(), (1, 0, 0));
    // The queue has nobody behind it now: what comes is dropped and counted, not waited for.
    put(&buffers, &log, 2);
    drop(buffers);
    assert_eq!(counters.shard(0).access_log_dropped.get(), 1);
}
