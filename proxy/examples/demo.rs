//! The whole of Fleetway on loopback: a management server, two proxies, two upstreams, the
//! quickstart configuration, and real requests through it. Ctrl-C stops all of it.
#![allow(clippy::print_stdout, reason = "it talks to the person who started it")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

const REST: &str = "127.0.0.1:7080";
const XDS: &str = "127.0.0.1:7081";
/// Node, fleet, admin page, listener of the quickstart configuration.
const PROXIES: [(&str, &str, &str, &str); 2] = [
    ("proxy-blue", "blue", "127.0.0.1:9901", "127.0.0.1:8081"),
    ("proxy-green", "green", "127.0.0.1:9902", "127.0.0.1:8082"),
];
const UPSTREAMS: [(&str, &str); 2] = [
    ("users-v1", "127.0.0.1:9081"),
    ("users-v2", "127.0.0.1:9082"),
];
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    // Whoever stops it, however: the programs it started end with it, and its folder goes.
    let done = async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            done = demo() => done,
            _ = tokio::signal::ctrl_c() => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = hang_up.recv() => Ok(()),
        }
    };
    match done.await {
        Ok(()) => {
            println!();
            say("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> anyhow::Result<()> {
    let programs = programs()?;
    all_free()?;
    let folder = tempfile::tempdir().context("cannot make a folder for the demo's state")?;
    for (name, address) in UPSTREAMS {
        upstream(name, address).await?;
    }
    let key = master_key(&programs, folder.path()).await?;
    let mut children = vec![("fleetway-xds", server(&programs, folder.path(), &key)?)];
    answers(REST, "/readyz", &mut children).await?;
    for (node, fleet, admin, _) in PROXIES {
        children.push((
            "fleetway-proxy",
            proxy(&programs, folder.path(), node, fleet, admin)?,
        ));
    }
    say("started the management server, two proxies and two upstreams");

    apply(&programs).await?;
    for (_, _, admin, _) in PROXIES {
        answers(admin, "/readyz", &mut children).await?;
    }
    println!();
    say("real requests through both proxies:");
    for (_, _, _, listener) in PROXIES {
        for path in [
            "/users/7",
            "/profile/7",
            "/hello",
            "/members/7",
            "/anything",
        ] {
            let (status, text) = get(listener, path).await?;
            println!(
                "    GET http://{listener}{path:<12} {status}  {}",
                text.trim_end()
            );
        }
    }
    println!();
    println!(
        "It runs until Ctrl-C. To go on, in another terminal (target/debug in your PATH):\n\n\
         \x20   fleetway status                          who serves what\n\
         \x20   fleetway get routes                      what there is\n\
         \x20   fleetway edit route hello                change it, and ask again:\n\
         \x20   curl http://127.0.0.1:8081/hello\n\
         \x20   fleetway revisions                       what was changed, by whom\n\
         \x20   curl http://127.0.0.1:9901/config_dump   what a proxy serves\n"
    );
    let name = first_to_end(&mut children).await;
    bail!("{name} has ended")
}

/// Refuses to start beside something that has one of the addresses.
fn all_free() -> anyhow::Result<()> {
    let proxies = PROXIES.map(|(_, _, admin, listener)| [admin, listener]);
    let upstreams = UPSTREAMS.map(|(_, address)| address);
    for address in [&[REST, XDS], proxies.as_flattened(), &upstreams].concat() {
        std::net::TcpListener::bind(address)
            .with_context(|| format!("{address} is not free: stop what has it, and start again"))?;
    }
    Ok(())
}

fn say(text: &str) {
    println!("==> {text}");
}

/// The folder of the built programs: this one stands in its `examples`.
fn programs() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this
        .ancestors()
        .nth(2)
        .context("no folder of programs")?
        .to_owned();
    for name in ["fleetway-xds", "fleetway-proxy", "fleetway"] {
        ensure!(
            folder.join(name).is_file(),
            "{name} is not built: run `make run`"
        );
    }
    Ok(folder)
}

fn start(programs: &Path, name: &str, args: &[&str]) -> anyhow::Result<Child> {
    Command::new(programs.join(name))
        .args(args)
        .args(["--log", "warn"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{name} does not start"))
}

/// Makes a master key for the server's secrets, in a file for its owner alone.
async fn master_key(programs: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let file = folder.join("master.key");
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let out = options.open(&file).context("cannot write the master key")?;
    let status = Command::new(programs.join("fleetway-xds"))
        .arg("generate-key")
        .stdout(out)
        .status()
        .await?;
    ensure!(status.success(), "no master key was made");
    Ok(file)
}

fn server(programs: &Path, folder: &Path, key: &Path) -> anyhow::Result<Child> {
    let data = folder.join("data");
    let text = |path: &Path| path.to_str().map(ToOwned::to_owned);
    let (data, key) = text(&data)
        .zip(text(key))
        .context("the folder's name is not plain text")?;
    let secrets = ["--data", &data, "--master-key-file", &key];
    start(
        programs,
        "fleetway-xds",
        &[&secrets[..], &["--rest", REST, "--xds", XDS]].concat(),
    )
}

fn proxy(
    programs: &Path,
    folder: &Path,
    node: &str,
    fleet: &str,
    admin: &str,
) -> anyhow::Result<Child> {
    let state = folder.join(node);
    let state = state
        .to_str()
        .context("the folder's name is not plain text")?;
    let xds = format!("http://{XDS}");
    let args = [
        "--xds",
        &xds,
        "--node-id",
        node,
        "--fleet",
        fleet,
        "--admin",
        admin,
    ];
    start(
        programs,
        "fleetway-proxy",
        &[&args[..], &["--state", state, "--workers", "1"]].concat(),
    )
}

async fn apply(programs: &Path) -> anyhow::Result<()> {
    say("fleetway apply -f testdata/quickstart --wait");
    let server = format!("http://{REST}");
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/quickstart");
    let args = [
        "--server",
        &server,
        "apply",
        "-f",
        quickstart,
        "--wait",
        "-m",
        "quickstart",
    ];
    let status = Command::new(programs.join("fleetway"))
        .args(args)
        .status()
        .await?;
    ensure!(
        status.success(),
        "the quickstart configuration was not applied"
    );
    Ok(())
}

/// Answers every request with its name and what it was asked.
async fn upstream(name: &'static str, address: &str) -> anyhow::Result<()> {
    let socket = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for the upstream {name}"))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                let text = format!("{name} here, asked for {}\n", request.uri());
                Ok::<_, Infallible>(Response::new(text))
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    Ok(())
}

/// Waits until a page answers 200.
async fn answers(
    address: &str,
    path: &str,
    children: &mut [(&'static str, Child)],
) -> anyhow::Result<()> {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !get(address, path)
            .await
            .is_ok_and(|(status, _)| status == "200")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::select! {
        waited = waited => waited.with_context(|| format!("http://{address}{path} does not answer")),
        name = first_to_end(children) => bail!("{name} has ended; is its address in use?"),
    }
}

/// Sends one request; the status and the body.
async fn get(address: &str, path: &str) -> anyhow::Result<(String, String)> {
    let mut stream = TcpStream::connect(address.parse::<SocketAddr>()?).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no whole answer")?;
    let status = head.split(' ').nth(1).context("no status")?;
    let location = head
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .map(|location| format!("to {location}"));
    Ok((
        status.to_owned(),
        location.unwrap_or_else(|| body.to_owned()),
    ))
}

/// Waits until one of the programs ends.
async fn first_to_end(children: &mut [(&'static str, Child)]) -> &'static str {
    let ends = children.iter_mut().map(|(name, child)| {
        let name: &'static str = name;
        Box::pin(async move {
            // However it ended, it has.
            let _ = child.wait().await;
            name
        })
    });
    futures_util::future::select_all(ends).await.0
}
