//! The access log: what its lines tell, and what becomes of them when the file does not keep still.

mod connections;
mod files;
mod requests;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Proxy, Surroundings, documents, eventually};

/// A proxy of a folder of resources, and the file its access log goes to.
struct Logged {
    proxy: Proxy,
    folder: TempDir,
    file: PathBuf,
}

/// A listener with an access log.
fn listener(name: &str, file: &Path) -> Value {
    let mut listener = documents::listener(name);
    listener["access_log"] = json!({"path": file});
    listener
}

impl Logged {
    /// Serves these beside the listener `web`.
    async fn with(others: &[Value]) -> Self {
        Self::changed(others, |_| {}).await
    }

    /// The same, with something about the listener changed.
    async fn changed(others: &[Value], change: impl FnOnce(&mut Value)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("access.json");
        let mut listener = listener("web", &file);
        change(&mut listener);
        fs::create_dir(folder.path().join("resources")).expect("a folder");
        let all = [&[listener], others].concat();
        write(folder.path(), &all);
        let resources = folder.path().join("resources");
        let resources = resources.to_str().expect("a plain path");
        let said = Surroundings {
            log: Some(folder.path().join("said")),
            ..Surroundings::default()
        };
        let proxy = Proxy::start_in(said, &["--resources", resources]).await;
        Self {
            proxy,
            folder,
            file,
        }
    }

    async fn web(&self) -> SocketAddr {
        self.proxy.listener("web").await
    }

    /// Puts other resources in place of those there are.
    fn put(&self, all: &[Value]) {
        write(self.folder.path(), all);
    }

    /// All lines, once there are so many.
    async fn lines(&self, count: usize) -> Vec<Value> {
        lines(&self.file, count).await
    }

    /// The only line, once it is there.
    async fn line(&self) -> Value {
        self.lines(1).await.remove(0)
    }

    /// What a metric of the listener is.
    async fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.proxy.page("/metrics").await;
        let sample = format!("{name}{{listener=\"web\"}} ");
        let mut values = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(&sample));
        let value = values.next().unwrap_or_else(|| panic!("{name}\n{metrics}"));
        value.parse().expect("a number")
    }
}

fn write(folder: &Path, all: &[Value]) {
    let text = serde_json::to_string(&all).expect("JSON");
    fs::write(folder.join("written"), text).expect("written");
    fs::rename(folder.join("written"), folder.join("resources/all.json")).expect("in its place");
}

/// The lines of a file as they are now, each a whole object.
fn read(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // What is being written has no end yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let each = whole.lines().map(serde_json::from_str);
    each.collect::<Result<_, _>>()
        .expect("a JSON object a line")
}

/// The lines once there are so many, in the order of their times: those of several workers are in none.
async fn lines(file: &Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines"), async || {
        let mut lines = read(file);
        assert!(lines.len() <= count, "{lines:#?}");
        lines.sort_by_key(|line| line["time"].to_string());
        (lines.len() == count).then_some(lines)
    })
    .await
}

/// The fields of a line but those that differ each time; of these it holds that they make sense.
fn steady(mut line: Value) -> Value {
    let fields = line.as_object_mut().expect("an object");
    let time = fields.remove("time").expect("a time");
    let time = time.as_str().expect("a text");
    assert!(time.ends_with('Z') && time.len() == 27, "{time}");
    time.parse::<jiff::Timestamp>().expect("RFC 3339");
    let client = fields.remove("client_address").expect("a client");
    let client = client.as_str().expect("a text");
    assert_eq!(
        client
            .parse::<SocketAddr>()
            .expect("an address")
            .ip()
            .to_string(),
        "127.0.0.1"
    );
    let took = fields
        .remove("duration_us")
        .map(|took| took.as_u64().expect("a number"));
    if let Some(head) = fields.remove("upstream_duration_us") {
        assert!(head.as_u64() <= took, "{head} {took:?}");
    }
    line
}
