//! Programs of others to talk to. One that is not installed fails the test, and says what to
//! install: `.ci/run` does.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};

use super::{PATIENCE, eventually};

/// A server of another make. It ends when its handle goes.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    _child: Child,
    /// What it was given: its folder, and a hold on its port.
    _given: Option<(TempDir, Socket)>,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/e2e/peers")
        .join(name)
}

fn python(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(script(name))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn missing(program: &str, why: &str) -> ! {
    panic!(
        "{program} is needed for this test and cannot be used: install what .ci/run installs\n{why}"
    )
}

impl Peer {
    /// Starts a Python server of `peers/`, which prints its port.
    pub async fn python(name: &str, args: &[&str]) -> Self {
        let mut child = python(name, args)
            .spawn()
            .unwrap_or_else(|error| missing("python3", &error.to_string()));
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let read = tokio::time::timeout(PATIENCE, output.read_line(&mut line)).await;
        read.expect("in time").expect("its output");
        let Ok(port) = line.trim().parse::<u16>() else {
            let mut errors = String::new();
            let mut pipe = child.stderr.take().expect("its errors");
            pipe.read_to_string(&mut errors).await.expect("its errors");
            missing(name, &errors);
        };
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _child: child,
            _given: None,
        }
    }

    /// Starts nginx with these directives in its one server, over HTTP/2 only if so asked.
    pub async fn nginx(http2: bool, directives: &str) -> Self {
        // Held for it, and shared with it, as it cannot say which port it was given.
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        held.set_reuse_port(true).expect("shared");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        held.bind(&any.into()).expect("a free port");
        let address = held.local_addr().expect("an address").as_socket();
        let address = address.expect("an address");
        let folder = TempDir::new().expect("a folder");
        let place = folder.path().display();
        let flag = if http2 { " http2" } else { "" };
        let config = format!(
            "pid {place}/pid; error_log {place}/errors; daemon off; master_process off;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b;\n\
             fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
             server {{ listen {address} reuseport{flag}; {directives} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).expect("written");
        let child = Command::new("nginx")
            .args(["-e", &format!("{place}/errors"), "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.unwrap_or_else(|error| missing("nginx", &error.to_string()));
        eventually("nginx listens", async || {
            if let Some(status) = child.try_wait().expect("a process") {
                let errors = std::fs::read_to_string(folder.path().join("errors"));
                panic!("nginx ended with {status}: {errors:?}");
            }
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        Self {
            address,
            _child: child,
            _given: Some((folder, held)),
        }
    }
}

/// Runs a Python client of `peers/` to its end, which has to be a good one; what it printed.
pub async fn run_python(name: &str, args: &[&str]) -> String {
    run(name, python(name, args)).await
}

/// Runs curl to its end, which has to be a good one; what it printed.
pub async fn curl(args: &[&str]) -> String {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    run("curl", command).await
}

async fn run(name: &str, mut command: Command) -> String {
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{name} does not end"))
        .unwrap_or_else(|error| missing(name, &error.to_string()));
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ModuleNotFoundError") {
        missing(name, &errors);
    }
    assert!(
        output.status.success(),
        "{name} ends with {}\n{errors}",
        output.status
    );
    String::from_utf8(output.stdout).expect("text")
}
