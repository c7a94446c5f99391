//! A new process in place of the one that runs, under load.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::support::{Proxy, Server, Surroundings, Upstream, documents, eventually};

/// One request on a connection; whether it was answered, and the connection goes on.
async fn request(stream: &mut TcpStream) -> Option<bool> {
    let bytes = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(bytes).await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer
        .starts_with("HTTP/1.1 200 ")
        .then(|| !answer.contains("connection: close"))
}

/// Clients that ask without a pause until told to stop: half of them keep their connections as
/// long as they may, half of them make one for each request.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    fn on(web: SocketAddr) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |keeps: bool| {
            let (stop, answered) = (stop.clone(), answered.clone());
            async move {
                let mut failed = 0;
                while !stop.load(Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(web).await else {
                        failed += 1;
                        continue;
                    };
                    loop {
                        match request(&mut stream).await {
                            Some(goes_on) => {
                                answered.fetch_add(1, Relaxed);
                                if !goes_on || !keeps || stop.load(Relaxed) {
                                    break;
                                }
                            }
                            None => {
                                failed += 1;
                                break;
                            }
                        }
                    }
                }
                failed
            }
        };
        let clients = (0..8)
            .map(|index| tokio::spawn(client(index % 2 == 0)))
            .collect();
        Self {
            stop,
            answered,
            clients,
        }
    }

    /// Waits until so many more were answered.
    async fn answers(&self, more: usize) {
        let until = self.answered.load(Relaxed) + more;
        eventually("answers", async || {
            (self.answered.load(Relaxed) >= until).then_some(())
        })
        .await;
    }

    /// How many failed.
    async fn end(self) -> usize {
        self.stop.store(true, Relaxed);
        let mut failed = 0;
        for client in self.clients {
            failed += client.await.expect("a client");
        }
        failed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_takes_over_under_load_and_no_request_fails() {
    let upstream = Upstream::named("hello").await;
    let server = Server::start().await;
    let mut proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let all = [
        documents::listener("web"),
        documents::cluster("hello", upstream.address),
        documents::forward("hello", "/", "hello"),
    ];
    rest.commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    let load = Load::on(web);
    load.answers(200).await;
    let mut before = proxy.pid();
    for _ in 0..3 {
        proxy.signal("USR2");
        let after = proxy.succeeded(before).await;
        load.answers(500).await;
        before = after;
    }
    // The last follows the server: the address is the same, and what changes is served.
    assert_eq!(proxy.listener("web").await, web);
    rest.commit_live(&[documents::listener("other")], 1).await;
    proxy.listener("other").await;
    assert_eq!(load.end().await, 0);
    proxy.terminate();
    assert!(proxy.gone(Duration::from_secs(30)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_cannot_start_leaves_the_old_one_serving() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    fs::write(&file, "fleet: blue\n").expect("written");
    let server = Server::start().await;
    let log = folder.path().join("log");
    let surroundings = Surroundings {
        log: Some(log.clone()),
        ..Surroundings::default()
    };
    let (xds, config) = (format!("http://{}", server.xds), file.to_str());
    let flags = ["--xds", &xds, "--node-id", "p1", "--fleet", "blue"];
    let config = ["--config", config.expect("a path")];
    let mut proxy = Proxy::start_in(surroundings, &[&flags[..], &config].concat()).await;
    let rest = server.client();
    let all = [
        documents::listener("web"),
        documents::respond("hello", "/", "hello"),
    ];
    rest.commit_live(&all, 1).await;
    // From here on nothing on its disk is asked.
    let started = fs::read_to_string(&log).expect("a log").len();
    let web = proxy.listener("web").await;
    let load = Load::on(web);
    load.answers(100).await;

    fs::write(&file, "flet: blue\n").expect("written");
    let told = proxy.told();
    proxy.signal("USR2");
    // It gives the state folder up for its successor, and takes it again.
    eventually("the folder is taken again", async || {
        proxy.told().filter(|_| proxy.told() != told)
    })
    .await;
    load.answers(100).await;
    let second = [documents::respond("second", "/second", "again")];
    rest.commit_live(&second, 1).await;
    assert_eq!(load.end().await, 0);
    proxy.terminate();
    assert_eq!(proxy.ended(Duration::from_secs(30)).await, Some(0));
    let log = fs::read_to_string(&log).expect("a log").split_off(started);
    assert!(!log.contains("starting empty"), "{log}");
    assert!(!log.contains("from disk"), "{log}");
    let said = "this one goes on with what is in force pid=";
    assert!(log.contains(&format!("{said}{}", proxy.pid())), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_bad_by_then_ends_the_new_process_and_not_the_one_that_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let beside = folder.path().join(".new");
        fs::write(&beside, text).expect("written");
        fs::rename(beside, folder.path().join(name)).expect("renamed");
    };
    let listener = documents::listener("web");
    let hello = documents::respond("hello", "/", "hello");
    write("a.yaml", &format!("{listener}\n---\n{hello}"));
    let mut proxy = Proxy::of_folder(folder.path()).await;
    let load = Load::on(proxy.listener("web").await);
    load.answers(100).await;

    write("b.yaml", "kind: Nope");
    let told = proxy.told();
    proxy.signal("USR2");
    eventually("the folder is taken again", async || {
        proxy.told().filter(|_| proxy.told() != told)
    })
    .await;
    eventually("it is told of", async || {
        let (_, dump) = proxy.try_page("/config_dump").await.ok()?;
        dump.contains("b.yaml").then_some(())
    })
    .await;
    load.answers(100).await;
    // It follows the folder, and hands over once that can be used.
    write("b.yaml", &documents::listener("other").to_string());
    proxy.listener("other").await;
    let before = proxy.pid();
    proxy.signal("USR2");
    proxy.succeeded(before).await;
    load.answers(100).await;
    assert_eq!(load.end().await, 0);
    proxy.terminate();
    assert!(proxy.gone(Duration::from_secs(30)).await);
}
