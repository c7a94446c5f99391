//! The programs as processes. Each is killed when its handle goes.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{PATIENCE, Rest, eventually};

/// The path of one of the workspace's programs, built if it is not.
fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let proxy = PathBuf::from(env!("CARGO_BIN_EXE_fleetway-proxy"));
        let folder = proxy.parent().expect("a folder of programs").to_owned();
        // With the features a test of the whole workspace has, so that it has built them already:
        // the programs are built for the tests of their packages.
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["test", "--quiet", "--no-run", "--workspace"]);
        build.args(["--all-features", "--test", "it"]);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(
            build.status().expect("cargo runs").success(),
            "the programs build"
        );
        folder
    });
    folder.join(name)
}

/// Runs the command line to its end; its exit code, output and errors.
pub async fn fleetway(server: SocketAddr, args: &[&str]) -> (i32, String, String) {
    fleetway_with_editor(server, "false", args).await
}

/// The same, with an editor.
pub async fn fleetway_with_editor(
    server: SocketAddr,
    editor: &str,
    args: &[&str],
) -> (i32, String, String) {
    let output = Command::new(program("fleetway"))
        .args(["--server", &format!("http://{server}")])
        .args(args)
        .env_remove("FLEETWAY_SERVER")
        .env_remove("VISUAL")
        .env("EDITOR", editor)
        .env("FLEETWAY_AUTHOR", "ann")
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .expect("in time")
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs a shell command with the programs in its path; its exit code, and all it printed.
pub async fn run_shell(server: SocketAddr, folder: &Path, command: &str) -> (i32, String) {
    let programs = program("fleetway").parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("FLEETWAY_SERVER", format!("http://{server}"))
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .expect("in time")
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code().unwrap_or(-1), text)
}

/// What the server keeps its secrets under.
const MASTER_KEY: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

/// What a program is started with beside its flags.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub variables: Vec<(&'static str, String)>,
    /// A file to which all it says goes.
    pub log: Option<PathBuf>,
}

fn start(name: &str, args: &[&str], surroundings: &Surroundings) -> Child {
    let mut command = Command::new(program(name));
    if name == "fleetway-xds" {
        command.env("FLEETWAY_XDS_MASTER_KEY", MASTER_KEY);
    }
    command
        .args(args)
        .envs(surroundings.variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    if let Some(log) = &surroundings.log {
        let log = fs::File::create(log).expect("a log");
        command.stdout(log.try_clone().expect("a file"));
        command.stderr(log);
    } else if std::env::var_os("E2E_LOG").is_none() {
        command.stderr(Stdio::null());
    }
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{name} does not start: {error}"))
}

/// Waits for the addresses a program writes once it listens.
async fn addresses(folder: &Path, child: &mut Child) -> BTreeMap<String, Value> {
    let file = folder.join("addresses.json");
    eventually("addresses.json", async || {
        if let Some(status) = child.try_wait().expect("a process") {
            panic!("it ended with {status} before it listened");
        }
        serde_json::from_slice(&fs::read(&file).ok()?).ok()
    })
    .await
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("a running process").to_string();
    let sent = std::process::Command::new("kill")
        .args(["-s", name, &pid])
        .status();
    assert!(sent.expect("kill runs").success());
}

fn address(value: Option<&Value>) -> Option<SocketAddr> {
    value?.as_str()?.parse().ok()
}

/// A management server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    data: Arc<TempDir>,
    /// Where REST is served.
    pub rest: SocketAddr,
    /// Where proxies connect.
    pub xds: SocketAddr,
}

impl Server {
    /// Starts one on an empty store.
    pub async fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_on(Arc::new(TempDir::new().expect("a folder")), any, any).await
    }

    /// Starts one that is served over TLS, on an empty store.
    pub async fn secure(flags: &[&str]) -> Self {
        Self::start_in(&Surroundings::default(), flags).await
    }

    /// Starts one with these flags, on an empty store.
    pub async fn start_in(surroundings: &Surroundings, flags: &[&str]) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let data = Arc::new(TempDir::new().expect("a folder"));
        Self::bound(data, (any, any), flags, surroundings).await
    }

    async fn start_on(data: Arc<TempDir>, rest: SocketAddr, xds: SocketAddr) -> Self {
        let this = Self::bound(data, (rest, xds), &[], &Surroundings::default()).await;
        eventually("the server is ready", async || {
            this.client().is_ready().await.then_some(())
        })
        .await;
        this
    }

    async fn bound(
        data: Arc<TempDir>,
        (rest, xds): (SocketAddr, SocketAddr),
        flags: &[&str],
        surroundings: &Surroundings,
    ) -> Self {
        let _ = fs::remove_file(data.path().join("addresses.json"));
        let folder = data.path().to_str().expect("a plain path").to_owned();
        let (rest, xds) = (rest.to_string(), xds.to_string());
        let args = ["--data", &folder, "--rest", &rest, "--xds", &xds];
        let mut child = start("fleetway-xds", &[&args, flags].concat(), surroundings);
        let bound = addresses(data.path(), &mut child).await;
        let rest = address(bound.get("rest")).expect("the REST address");
        let xds = address(bound.get("xds")).expect("the stream address");
        Self {
            child,
            data,
            rest,
            xds,
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// A REST client for it.
    pub fn client(&self) -> Rest {
        Rest::new(self.rest)
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a process to kill");
    }

    /// Starts it again on the same addresses with nothing in its store.
    pub async fn lose_store(&mut self) {
        self.kill().await;
        let data = Arc::new(TempDir::new().expect("a folder"));
        *self = Self::start_on(data, self.rest, self.xds).await;
    }

    /// Starts it again on the same store and addresses.
    pub async fn restart(&mut self) {
        self.kill().await;
        *self = Self::start_on(self.data.clone(), self.rest, self.xds).await;
    }
}

/// A proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// The process, which another may have been put in place of.
    pid: u32,
    args: Vec<String>,
    surroundings: Surroundings,
    state: Arc<TempDir>,
    /// Where the admin page is.
    pub admin: SocketAddr,
}

impl Proxy {
    /// Starts one that takes its configuration from `server`.
    pub async fn of(server: &Server, id: &str, fleet: &str) -> Self {
        Self::with(server, id, fleet, &[]).await
    }

    /// The same, with more flags.
    pub async fn with(server: &Server, id: &str, fleet: &str, flags: &[&str]) -> Self {
        let xds = format!("http://{}", server.xds);
        let flags = [&["--xds", &xds, "--node-id", id, "--fleet", fleet], flags].concat();
        Self::start(&flags).await
    }

    /// Starts one that serves a folder of resource files.
    pub async fn of_folder(folder: &Path) -> Self {
        let folder = folder.to_str().expect("a plain path");
        Self::start(&["--resources", folder, "--node-id", "local"]).await
    }

    /// Starts one with these flags.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_in(Surroundings::default(), args).await
    }

    /// The same, in these surroundings.
    pub async fn start_in(surroundings: Surroundings, args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        let state = Arc::new(TempDir::new().expect("a folder"));
        Self::start_on(state, args, surroundings).await
    }

    async fn start_on(state: Arc<TempDir>, args: Vec<String>, surroundings: Surroundings) -> Self {
        let _ = fs::remove_file(state.path().join("addresses.json"));
        let folder = state.path().to_str().expect("a plain path").to_owned();
        let mut all = vec![
            "--admin",
            "127.0.0.1:0",
            "--state",
            &folder,
            "--workers",
            "2",
        ];
        all.extend(args.iter().map(String::as_str));
        let mut child = start("fleetway-proxy", &all, &surroundings);
        let bound = addresses(state.path(), &mut child).await;
        let admin = address(bound.get("admin")).expect("the admin address");
        Self {
            pid: child.id().expect("a running process"),
            child,
            args,
            surroundings,
            state,
            admin,
        }
    }

    /// Kills it as `kill -9` does and starts it again with the same state folder.
    pub async fn restart(&mut self) {
        self.child.kill().await.expect("a process to kill");
        let surroundings = self.surroundings.clone();
        *self = Self::start_on(self.state.clone(), self.args.clone(), surroundings).await;
    }

    /// Whether the last good configuration on its disk has `text` in it.
    pub fn has_on_disk(&self, text: &str) -> bool {
        let file = fs::read(self.state.path().join("last-good.bin")).unwrap_or_default();
        file.windows(text.len()).any(|part| part == text.as_bytes())
    }

    /// What it keeps of compiled components: the names of the files and their numbers.
    pub fn compiled(&self) -> Vec<(String, u64)> {
        let entries = fs::read_dir(self.state.path().join("compiled")).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.file_name() != "key")
            .map(|entry| {
                let number = std::os::unix::fs::DirEntryExt::ino(&entry);
                (entry.file_name().to_string_lossy().into_owned(), number)
            })
            .collect()
    }

    /// Asks it to stop, as a service manager does.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.pid.to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// The process that has the state folder; nothing while none has.
    fn has_folder(&self) -> Option<u32> {
        let told = fs::read(self.state.path().join("addresses.json")).ok()?;
        let told: Value = serde_json::from_slice(&told).ok()?;
        u32::try_from(told["pid"].as_u64()?).ok()
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until another process than `before` serves and that one, if it was the first, has
    /// ended in order. From then on this is about the new one.
    pub async fn succeeded(&mut self, before: u32) -> u32 {
        let after = eventually("a new process", async || {
            self.has_folder().filter(|pid| *pid != before)
        })
        .await;
        if self.child.id() == Some(before) {
            assert_eq!(self.ended(PATIENCE).await, Some(0));
        } else {
            eventually("the end of the one before", async || {
                (!is_running(before)).then_some(())
            })
            .await;
        }
        self.pid = after;
        after
    }

    /// The file it tells its addresses by: another one each time it is written.
    pub fn told(&self) -> Option<(u64, i64, i64)> {
        use std::os::unix::fs::MetadataExt as _;
        let file = fs::metadata(self.state.path().join("addresses.json")).ok()?;
        Some((file.ino(), file.ctime(), file.ctime_nsec()))
    }

    /// Whether the process that serves has ended in time.
    pub async fn gone(&self, within: Duration) -> bool {
        let ended = async {
            while is_running(self.pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(within, ended).await.is_ok()
    }

    /// Waits until it has ended; its exit code.
    pub async fn ended(&mut self, within: Duration) -> Option<i32> {
        tokio::time::timeout(within, self.child.wait())
            .await
            .ok()?
            .expect("a process")
            .code()
    }

    /// The address of a listener, once it has it.
    pub async fn listener(&self, name: &str) -> SocketAddr {
        let url = format!("http://{}/listeners", self.admin);
        eventually(&format!("the listener {name}"), async || {
            let listeners: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
            address(listeners.get(name))
        })
        .await
    }

    /// A page of its admin server: status and text.
    pub async fn page(&self, path: &str) -> (u16, String) {
        self.try_page(path).await.expect("a page")
    }

    /// The same where a process that shares the admin socket may end before it has answered.
    pub async fn try_page(&self, path: &str) -> reqwest::Result<(u16, String)> {
        let answer = reqwest::get(format!("http://{}{path}", self.admin)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The revision it serves.
    pub async fn revision(&self) -> u64 {
        let (_, dump) = self.page("/config_dump").await;
        let dump: Value = serde_json::from_str(&dump).expect("JSON");
        dump["revision"].as_u64().expect("a number")
    }
}

/// Whether there is a process of this number that has not ended.
fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // One that nobody has asked after yet is a zombie.
    status
        .lines()
        .any(|line| line.starts_with("State:") && !line.contains("zombie"))
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The child ends with its handle; a process in its place does not.
        if self.child.id() != Some(self.pid) && is_running(self.pid) {
            let _ = std::process::Command::new("kill")
                .args(["-s", "KILL", &self.pid.to_string()])
                .status();
        }
    }
}
