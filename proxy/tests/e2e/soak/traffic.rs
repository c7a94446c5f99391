//! Clients of every kind, each asking again and again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use super::record::{Leads, Record};
use crate::support::{Authority, PATIENCE};

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(10);
/// A body that fits no buffer.
const BIG: usize = 4 * 1024 * 1024;

/// Where the listeners are.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    pub web: SocketAddr,
    pub secure: SocketAddr,
    pub bytes: SocketAddr,
}

/// The clients.
pub struct Traffic {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    record: Record,
}

impl Traffic {
    pub fn start(at: &Places, ca: &Authority, record: &Record) -> Self {
        let mut this = Self {
            over: Arc::default(),
            clients: Vec::new(),
            record: record.clone(),
        };
        let Places { web, secure, bytes } = *at;
        let (steady, flaky) = (format!("http://{web}/"), format!("http://{web}/flaky"));
        for version2 in [false, true] {
            let plain = client(version2, 4, |builder| builder);
            let (v, of_flaky) = match version2 {
                false => ("HTTP/1.1", "HTTP/1.1 to the flaky"),
                true => ("HTTP/2", "HTTP/2 to the flaky"),
            };
            this.get(v, Leads::Steady, &plain, &steady);
            this.get(of_flaky, Leads::Flaky, &plain, &flaky);
            let upload = if version2 {
                "4 MiB up, HTTP/2"
            } else {
                "4 MiB up, HTTP/1.1"
            };
            let url = steady.clone();
            this.add(upload, Leads::Steady, move || {
                big(plain.clone(), url.clone())
            });
            // A connection each, so that every certificate is seen.
            for (kept, what) in [
                (4, ["TLS kept", "TLS kept, HTTP/2"]),
                (0, ["TLS", "TLS, HTTP/2"]),
            ] {
                let over_tls = client(version2, kept, |builder| {
                    builder
                        .tls_backend_preconfigured(ca.client_config_speaking(version2))
                        .resolve("api.example.com", secure)
                });
                let url = format!("https://api.example.com:{}/", secure.port());
                this.get(what[usize::from(version2)], Leads::Steady, &over_tls, &url);
            }
        }
        this.add("one request a connection", Leads::Steady, move || {
            closing(web)
        });
        this.add("WebSocket", Leads::Steady, move || chat(web));
        this.add("TCP", Leads::Steady, move || relayed(bytes));
        this
    }

    fn get(&mut self, what: &'static str, leads: Leads, client: &reqwest::Client, url: &str) {
        let (client, url) = (client.clone(), url.to_owned());
        self.add(what, leads, move || get(client.clone(), url.clone()));
    }

    fn add<F>(&mut self, what: &'static str, leads: Leads, ask: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (over, record) = (self.over.clone(), self.record.clone());
        self.clients.push(tokio::spawn(async move {
            while !over.load(Relaxed) {
                let request = record.begin(what, leads);
                let outcome = tokio::time::timeout(PATIENCE, ask()).await;
                let outcome = outcome.unwrap_or_else(|_| Err("no answer at all".into()));
                record.end(request, outcome);
                tokio::time::sleep(PAUSE).await;
            }
        }));
    }

    /// Lets every client finish what it is at.
    pub async fn end(self) {
        self.over.store(true, Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
    }
}

fn client(
    version2: bool,
    kept: usize,
    more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> reqwest::Client {
    let builder = reqwest::Client::builder().pool_max_idle_per_host(kept);
    let builder = if version2 {
        builder.http2_prior_knowledge()
    } else {
        builder.http1_only()
    };
    more(builder).build().expect("a client")
}

/// An error with all its causes.
fn whole(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

async fn get(client: reqwest::Client, url: String) -> Result<(), String> {
    let answer = client.get(url).send().await.map_err(whole)?;
    let status = answer.status();
    let text = answer.text().await.map_err(whole)?;
    (status == 200)
        .then_some(())
        .ok_or_else(|| format!("{status} {}", text.trim()))
}

async fn big(client: reqwest::Client, url: String) -> Result<(), String> {
    let request = client.post(url).body(vec![b'b'; BIG]);
    let answer = request.send().await.map_err(whole)?;
    let status = answer.status();
    let text = answer.text().await.map_err(whole)?;
    (status == 200 && text == BIG.to_string())
        .then_some(())
        .ok_or_else(|| format!("{status} {}", text.trim()))
}

async fn closing(web: SocketAddr) -> Result<(), String> {
    let asked = async {
        let mut stream = TcpStream::connect(web).await?;
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asked.await.map_err(|error| error.to_string())?;
    (answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n0"))
        .then_some(())
        .ok_or(answer)
}

/// Messages to and fro in a tunnel.
async fn chat(web: SocketAddr) -> Result<(), String> {
    let talked = async {
        let mut stream = TcpStream::connect(web).await?;
        let asks =
            b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(asks).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Ok(false);
        }
        let (message, mut said) = ([b'm'; 1024], [0; 1024]);
        for _ in 0..20 {
            stream.write_all(&message).await?;
            stream.read_exact(&mut said).await?;
        }
        stream.shutdown().await?;
        Ok::<_, std::io::Error>(said == message && stream.read(&mut said).await? == 0)
    };
    let good = talked.await.map_err(|error| error.to_string())?;
    good.then_some(())
        .ok_or("no tunnel, or another's bytes".into())
}

async fn relayed(at: SocketAddr) -> Result<(), String> {
    let sent = vec![b't'; 64 * 1024];
    let passed = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(&sent).await?;
        stream.shutdown().await?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await?;
        Ok::<_, std::io::Error>(heard)
    };
    let heard = passed.await.map_err(|error| error.to_string())?;
    // Behind the name the upstream says first.
    heard
        .ends_with(&sent)
        .then_some(())
        .ok_or_else(|| format!("{} bytes came back", heard.len()))
}
