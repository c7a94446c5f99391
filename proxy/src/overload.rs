//! Shedding load before memory runs out: a proxy that is killed for its memory fails every request
//! it has, one that refuses some in time fails those.

use std::{
    convert::Infallible,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

/// How often the memory in use is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// From this share of the limit on, requests are refused; in percent.
const SHED_REQUESTS: u64 = 90;
/// From this share on, connections are refused too.
const SHED_CONNECTIONS: u64 = 95;

/// How near the proxy is to the memory it may use. Read by every worker, written by one task.
#[derive(Debug, Default)]
pub struct Overload {
    level: AtomicU8,
    limit: AtomicU64,
}

impl Overload {
    /// Whether new requests are to be refused.
    #[must_use]
    pub fn sheds_requests(&self) -> bool {
        self.level.load(Relaxed) >= 1
    }

    /// Whether new connections are to be refused.
    #[must_use]
    pub fn sheds_connections(&self) -> bool {
        self.level.load(Relaxed) >= 2
    }

    /// The memory in use now, in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        Memory::open()?.resident()
    }

    /// The memory the proxy may use, in bytes; 0 for no limit.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Judges by the memory in use. Gives the level before and after.
    fn judge(&self, resident: u64) -> (u8, u8) {
        let limit = self.limit();
        let share = |percent: u64| u128::from(limit) * u128::from(percent) / 100;
        let used = u128::from(resident);
        let level = match limit {
            0 => 0,
            _ if used >= share(SHED_CONNECTIONS) => 2,
            _ if used >= share(SHED_REQUESTS) => 1,
            _ => 0,
        };
        (self.level.swap(level, Relaxed), level)
    }

    /// Watches the memory of this process for as long as it is polled. `limit` is in bytes; for 0,
    /// no limit, there is nothing to watch.
    pub async fn watch(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
        if limit == 0 {
            return;
        }
        let Err(error) = self.judge_on().await;
        tracing::warn!(%error, "the memory in use cannot be read: it is not watched");
    }

    async fn judge_on(&self) -> io::Result<Infallible> {
        let memory = Memory::open()?;
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let (resident, limit) = (memory.resident()?, self.limit());
            match self.judge(resident) {
                (0, 1..) => {
                    tracing::warn!(resident, limit, "memory runs short: requests are refused");
                }
                (1.., 0) => {
                    tracing::warn!(resident, limit, "memory is there again: requests are taken");
                }
                _ => {}
            }
        }
    }
}

/// The memory this process has, as the kernel counts it (proc(5), `/proc/self/statm`).
#[derive(Debug)]
struct Memory(File);

impl Memory {
    /// To be asked as often as one likes: the count is of when it is read.
    fn open() -> io::Result<Self> {
        File::open("/proc/self/statm").map(Self)
    }

    /// What is resident, in bytes.
    fn resident(&self) -> io::Result<u64> {
        // Seven numbers of at most twenty digits.
        let mut text = [0; 160];
        let length = self.0.read_at(&mut text, 0)?;
        let pages = text
            .get(..length)
            .and_then(|text| str::from_utf8(text).ok())
            .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        let size = rustix::param::page_size() as u64;
        pages
            .map(|pages| pages.saturating_mul(size))
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// The memory the control groups of this process leave it, in bytes; 0 for no limit.
#[must_use]
pub fn allowed() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next(), parts.next());
        match (controllers, path) {
            (Some(""), Some(path)) => along(Path::new("/sys/fs/cgroup"), path, "memory.max"),
            (Some("memory"), Some(path)) => along(
                Path::new("/sys/fs/cgroup/memory"),
                path,
                "memory.limit_in_bytes",
            ),
            _ => Vec::new(),
        }
    });
    limits
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok())
        // Version 1 has a number near the largest there is for no limit.
        .filter(|limit| *limit < 1 << 60)
        .min()
        .unwrap_or(0)
}

/// The file in a group and in each above it, whose limits hold as well.
fn along(root: &Path, group: &str, file: &str) -> Vec<PathBuf> {
    let group = Path::new(group.trim_start_matches('/'));
    group
        .ancestors()
        .map(|group| root.join(group).join(file))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_refused_first_and_then_connections() {
        let overload = Overload::default();
        overload.limit.store(1000, Relaxed);
        for (resident, requests, connections) in [
            (899, false, false),
            (900, true, false),
            (950, true, true),
            (2000, true, true),
            (10, false, false),
        ] {
            overload.judge(resident);
            let sheds = (overload.sheds_requests(), overload.sheds_connections());
            assert_eq!(sheds, (requests, connections), "{resident}");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let overload = Overload::default();
        overload.judge(u64::MAX);
        assert!(!overload.sheds_requests());
    }

    #[test]
    fn the_limits_of_all_groups_above_count() {
        let files = along(Path::new("/sys/fs/cgroup"), "/a/b", "memory.max");
        let expected = ["a/b/memory.max", "a/memory.max", "memory.max"];
        let expected = expected.map(|file| Path::new("/sys/fs/cgroup").join(file));
        assert_eq!(files, expected);
    }

    #[test]
    fn this_process_has_memory() {
        let memory = Memory::open().unwrap();
        assert!(memory.resident().unwrap() > 1 << 20);
    }
}
