//! Clients that mean harm, one kind at a time: the proxy ends or bounds what they do, its memory
//! stays within a stated bound, and others are served all the while.
#![allow(clippy::print_stdout, reason = "what a flood costs is worth reading")]

mod control;
mod heads;
mod idle;
mod slow;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::support::{Proxy, Server, Upstream, ask, documents, eventually, frames::Raw};

/// A proxy that is to be harmed, and those it serves meanwhile.
struct Subject {
    /// Clients that mean none. They end before the proxy does.
    others: Bystanders,
    web: SocketAddr,
    proxy: Proxy,
    _server: Server,
    _echo: Upstream,
}

impl Subject {
    /// With these limits of a listener and these fields of the route to an upstream.
    async fn start(http: Value, forward: &Value) -> Self {
        let echo = Upstream::echo().await;
        let server = Server::start().await;
        let proxy = Proxy::of(&server, "p1", "blue").await;
        // Where the listener has short clocks, a machine with much to do would make the others late:
        // they have one with the usual clocks then, of the same workers.
        let of_others = match http.get("idle_timeout") {
            Some(_) => "calm",
            None => "web",
        };
        let mut listener = documents::listener("web");
        listener["http"] = http;
        listener["limits"] = json!({"max_connections_per_source": 20_000});
        let mut route = documents::forward("all", "/", "echo");
        for (name, value) in forward.as_object().expect("fields") {
            route["forward"][name] = value.clone();
        }
        let all = [
            listener,
            documents::cluster("echo", echo.address),
            route,
            documents::listener("calm"),
            // For the others, with the clocks that are there by default.
            documents::forward("others", "/others", "echo"),
            documents::respond("fixed", "/fixed", "fixed"),
        ];
        server.client().commit_live(&all, 1).await;
        let web = proxy.listener("web").await;
        Self {
            others: Bystanders::start(proxy.listener(of_others).await).await,
            web,
            proxy,
            _server: server,
            _echo: echo,
        }
    }

    /// With what is there by default.
    async fn by_default() -> Self {
        Self::start(json!({}), &json!({})).await
    }

    /// A figure of the proxy's: 0 for one it does not have.
    async fn counted(&self, metric: &str) -> u64 {
        let (_, metrics) = self.proxy.page("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(metric));
        line.map_or(0, |value| value.trim().parse().expect("a number"))
    }

    /// How many connections were ended for this reason.
    async fn floods(&self, reason: &str) -> u64 {
        let labels = format!("{{listener=\"web\",reason=\"{reason}\"}}");
        let metric = format!("fleetway_listener_http2_floods_total{labels}");
        self.counted(&metric).await
    }

    /// Waits until so many connections were ended for this reason, and none for another.
    async fn ended(&self, reason: &str, number: u64) {
        eventually(&format!("{number} ended for {reason}"), async || {
            (self.floods(reason).await == number).then_some(())
        })
        .await;
    }

    /// Runs what does harm. Prints what it cost; holds the memory to `most` bytes more than before,
    /// at its peak, and others to having been served.
    async fn during<T>(&self, what: &str, most: u64, harm: impl Future<Output = T>) -> T {
        let (cost, served) = (self.cost(), self.others.served());
        let done = harm.await;
        // Some may have been waiting: it counts that they are served in the end.
        eventually("others are served", async || {
            (self.others.served() > served + 20).then_some(())
        })
        .await;
        let after = self.cost();
        let more = after.peak.saturating_sub(cost.now);
        println!(
            "{what}: {} KiB more memory at its peak, {} ms of processor time, {} requests of others",
            more / 1024,
            after.processor_ms - cost.processor_ms,
            self.others.served() - served,
        );
        assert!(more <= most, "{what}: {more} bytes more");
        self.others.none_failed();
        done
    }

    /// What the process has used.
    fn cost(&self) -> Cost {
        let folder = format!("/proc/{}", self.proxy.pid());
        let status = fs::read_to_string(format!("{folder}/status")).expect("a process");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.expect("a line").trim().trim_end_matches(" kB");
            number.parse::<u64>().expect("a number") * 1024
        };
        let stat = fs::read_to_string(format!("{folder}/stat")).expect("a process");
        // User and system time, in hundredths of a second: fields 14 and 15 (proc_pid_stat(5)).
        let (_, behind_name) = stat.rsplit_once(')').expect("a name");
        let ticks = behind_name.split_whitespace().skip(11).take(2);
        Cost {
            now: bytes("VmRSS:"),
            peak: bytes("VmHWM:"),
            processor_ms: ticks
                .map(|n| n.parse::<u64>().expect("a number") * 10)
                .sum(),
        }
    }
}

/// What a process has used so far.
struct Cost {
    /// Memory now and at its highest, in bytes.
    now: u64,
    peak: u64,
    processor_ms: u64,
}

/// Clients that ask for one thing after another, over HTTP/1 and HTTP/2, on connections of their
/// own, on each worker of the proxy.
struct Bystanders {
    served: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Bystanders {
    async fn start(web: SocketAddr) -> Self {
        let (served, failed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(web).await.expect("a connection");
            let (count, fail) = (served.clone(), failed.clone());
            tasks.push(tokio::spawn(async move {
                let broken = Broken(fail);
                let request = "GET /others HTTP/1.1\r\nhost: x\r\n\r\n";
                while ask(&mut stream, request).await.0 == 200 {
                    count.fetch_add(1, Relaxed);
                }
                drop(broken);
            }));
            let mut raw = Raw::connect(web).await;
            let (count, fail) = (served.clone(), failed.clone());
            tasks.push(tokio::spawn(async move {
                let broken = Broken(fail);
                let mut stream = 1;
                while raw.get(stream, "/fixed").await == Some(200) {
                    count.fetch_add(1, Relaxed);
                    stream += 2;
                }
                drop(broken);
            }));
        }
        Self {
            served,
            failed,
            tasks,
        }
    }

    fn served(&self) -> usize {
        self.served.load(Relaxed)
    }

    fn none_failed(&self) {
        assert!(!self.failed.load(Relaxed), "a request of another failed");
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Notes that a client has ended, in whatever way: none is to.
struct Broken(Arc<AtomicBool>);

impl Drop for Broken {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
