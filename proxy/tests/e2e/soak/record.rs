//! What is kept of a soak, and what is made of it at the end.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

/// Where a request leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To upstreams that do not fail.
    Steady,
    /// To the one that does.
    Flaky,
}

/// A request under way.
#[derive(Debug)]
pub struct Asked {
    what: &'static str,
    leads: Leads,
    at: Instant,
}

/// A request that failed.
#[derive(Debug)]
struct Failed {
    asked: Asked,
    until: Instant,
    why: String,
}

/// A time in which the flaky upstream failed; without an end it still does.
#[derive(Debug)]
struct Window {
    what: String,
    from: Instant,
    until: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    begun: Instant,
    windows: Vec<Window>,
    failed: Vec<Failed>,
    /// Of each kind: how many were asked.
    asked: BTreeMap<&'static str, usize>,
}

/// What happened, shared by all that make it happen.
#[derive(Debug, Clone)]
pub struct Record(Arc<Mutex<Kept>>);

impl Default for Record {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            begun: Instant::now(),
            windows: Vec::new(),
            failed: Vec::new(),
            asked: BTreeMap::new(),
        })))
    }
}

/// A process and what it is called.
#[derive(Debug)]
pub struct Watched {
    name: &'static str,
    pid: u32,
}

/// What a process has at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    at: Duration,
    /// Resident memory in KiB.
    memory: u64,
    /// Open file descriptors.
    pub descriptors: usize,
}

impl Watched {
    pub fn new(name: &'static str, pid: u32) -> Self {
        Self { name, pid }
    }

    pub fn sample(&self, at: Duration) -> Sample {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = line.expect("its memory").trim().trim_end_matches(" kB");
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("it runs");
        Sample {
            at,
            memory: memory.parse().expect("a number"),
            descriptors: open.count(),
        }
    }
}

/// A report, and what in it is not as it has to be.
#[derive(Debug)]
pub struct Report {
    pub text: String,
    pub faults: Vec<String>,
}

/// The part of the time that is left out, a quarter: caches and pools fill.
const WARM_UP: usize = 4;
/// By how much of the mean the memory of the proxy may grow from the warm-up to the end, by the
/// line that fits best; at least `LEAST_KIB`, within which an allocator comes and goes.
const GROWTH: f64 = 0.05;
const LEAST_KIB: f64 = 2048.0;
/// The same for descriptors, of which each client has a few at any moment.
const DESCRIPTORS: f64 = 10.0;

/// How much `values` grow from the first moment to the last, by least squares; and their mean.
fn growth(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(at, _)| (at - x).powi(2)).sum();
    let joint: f64 = points
        .iter()
        .map(|(at, value)| (at - x) * (value - y))
        .sum();
    let over =
        points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
    (joint / spread * over, y)
}

impl Record {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("nobody fails with it")
    }

    pub fn begin(&self, what: &'static str, leads: Leads) -> Asked {
        *self.kept().asked.entry(what).or_default() += 1;
        Asked {
            what,
            leads,
            at: Instant::now(),
        }
    }

    pub fn end(&self, asked: Asked, outcome: Result<(), String>) {
        if let Err(why) = outcome {
            self.kept().failed.push(Failed {
                asked,
                until: Instant::now(),
                why,
            });
        }
    }

    pub fn fault_begins(&self, what: String) {
        self.kept().windows.push(Window {
            what,
            from: Instant::now(),
            until: None,
        });
    }

    pub fn fault_ends(&self) {
        if let Some(window) = self.kept().windows.last_mut() {
            window.until = Some(Instant::now());
        }
    }

    /// What came of it all.
    pub fn report(
        &self,
        watched: &[Watched],
        samples: &[Vec<Sample>],
        revision: u64,
        (idle, left): (usize, usize),
        metrics: &str,
    ) -> Report {
        let kept = self.kept();
        let mut faults = Vec::new();
        let minutes = kept.begun.elapsed().as_secs_f64() / 60.0;
        let mut text = format!("# Soak of {minutes:.0} minutes\n\n{revision} revisions.\n\n");
        text += &kept.requests(&mut faults);
        for (watched, samples) in watched.iter().zip(samples) {
            text += &processes(watched, samples, &mut faults);
        }
        let _ = writeln!(
            text,
            "Descriptors of the proxy without clients: {idle} before, {left} after.\n\nCounted by the proxy:\n"
        );
        let counted = metrics.lines().filter(|line| {
            line.contains("class=\"5xx\"")
                || line.contains("_failures_total")
                || line.contains("_timeouts_total")
        });
        let counted = counted.filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        for line in counted {
            let _ = writeln!(text, "    {line}");
        }
        Report { text, faults }
    }
}

impl Kept {
    /// Whether the upstream a request led to failed while it was under way.
    fn explains(&self, failed: &Failed) -> bool {
        failed.asked.leads == Leads::Flaky
            && self.windows.iter().any(|window| {
                window.from <= failed.until
                    && window.until.is_none_or(|until| failed.asked.at <= until)
            })
    }

    fn requests(&self, faults: &mut Vec<String>) -> String {
        let mut text =
            "| traffic | requests | failed in a fault | failed otherwise |\n|---|---|---|---|\n"
                .to_owned();
        for (what, asked) in &self.asked {
            let of_kind = || {
                self.failed
                    .iter()
                    .filter(|failed| failed.asked.what == *what)
            };
            let explained = of_kind().filter(|failed| self.explains(failed)).count();
            let others = of_kind().count() - explained;
            let _ = writeln!(text, "| {what} | {asked} | {explained} | {others} |");
            if asked == &0 || of_kind().count() == *asked {
                faults.push(format!("{what}: nothing was answered"));
            }
        }
        for failed in self
            .failed
            .iter()
            .filter(|failed| !self.explains(failed))
            .take(20)
        {
            let at = failed.asked.at.duration_since(self.begun).as_secs_f64();
            let last = self
                .windows
                .iter()
                .rfind(|window| window.from <= failed.until);
            let last = last.map_or("no fault", |window| &window.what);
            let what = failed.asked.what;
            faults.push(format!("{what} at {at:.3}s, after {last}: {}", failed.why));
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for window in &self.windows {
            *kinds.entry(&window.what).or_default() += 1;
        }
        let _ = writeln!(text, "\nFaults of the flaky upstream: {kinds:?}.\n");
        text
    }
}

/// What a process had over time. Of the proxy it must not grow.
fn processes(watched: &Watched, samples: &[Sample], faults: &mut Vec<String>) -> String {
    let name = watched.name;
    let mut text = format!("| {name} at | MiB | descriptors |\n|---|---|---|\n");
    for sample in samples.iter().step_by((samples.len() / 15).max(1)) {
        let (seconds, memory) = (sample.at.as_secs(), sample.memory as f64 / 1024.0);
        let _ = writeln!(
            text,
            "| {seconds} s | {memory:.1} | {} |",
            sample.descriptors
        );
    }
    let later = samples.get(samples.len() / WARM_UP..).unwrap_or_default();
    let points = |of: fn(&Sample) -> f64| -> Vec<(f64, f64)> {
        later
            .iter()
            .map(|sample| (sample.at.as_secs_f64(), of(sample)))
            .collect()
    };
    let (memory, mean) = growth(&points(|sample| sample.memory as f64));
    let (open, usual) = growth(&points(|sample| sample.descriptors as f64));
    let _ = writeln!(
        text,
        "\nAfter the warm-up: memory {memory:+.0} KiB of {mean:.0}, descriptors {open:+.1} of {usual:.0}.\n"
    );
    if name == "proxy" {
        let most = (mean * GROWTH).max(LEAST_KIB);
        if memory.is_nan() || memory > most {
            faults.push(format!(
                "the memory of the {name} grows by {memory:.0} KiB, of {most:.0}"
            ));
        }
        if open.is_nan() || open > DESCRIPTORS {
            faults.push(format!("the descriptors of the {name} grow by {open:.1}"));
        }
    }
    text
}
