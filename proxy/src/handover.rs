//! One process in place of another, without a connection refused: the listening sockets go from
//! the one to the other while both have them open.
//!
//! Sockets come as systemd passes them (sd_listen_fds(3)), so a service manager can have opened
//! them as well.

use std::{
    env, io,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::Stdio,
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use listenfd::ListenFd;
use tokio::process::{Child, Command};

use crate::listener::Inherited;

/// What the admin page's socket is called where it is passed on; no listener can be called so.
pub const ADMIN: &str = "@admin";
/// What the line to the process before is called.
const PREDECESSOR: &str = "@predecessor";
/// Said to the process before once everything is served here.
const READY: &[u8] = b"ready";
/// The first descriptor that is passed on.
const FIRST: i32 = 3;

/// What this process was given by the one that started it.
#[derive(Debug, Default)]
pub struct Legacy {
    /// The listening sockets of its listeners.
    pub sockets: Vec<Inherited>,
    /// The listening socket of the admin page.
    pub admin: Option<std::net::TcpListener>,
    /// The proxy to take over from.
    pub predecessor: Option<Predecessor>,
}

/// A proxy that goes on until this one is ready.
#[derive(Debug)]
pub struct Predecessor(UnixDatagram);

impl Predecessor {
    /// Tells it that it can go.
    pub fn relieve(self) {
        if let Err(error) = self.0.send(READY) {
            tracing::warn!(%error, "the proxy before this one is gone already");
        }
    }
}

impl Legacy {
    /// Takes what was passed on. To be called before anything else is done, once.
    #[must_use]
    pub fn take() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut legacy = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            if name == PREDECESSOR {
                let line = passed.take_unix_datagram(index).ok().flatten();
                legacy.predecessor = line.map(Predecessor);
                continue;
            }
            // What is no listening socket is nobody's here.
            let Ok(Some(socket)) = passed.take_tcp_listener(index) else {
                continue;
            };
            if name == ADMIN {
                legacy.admin = Some(socket);
            } else if let Ok(inherited) = Inherited::new(name, socket) {
                legacy.sockets.push(inherited);
            }
        }
        legacy
    }
}

/// Why a successor did not take over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It could not be started.
    #[error("it cannot be started: {0}")]
    Start(#[from] io::Error),
    /// It ended before it was ready.
    #[error("it ended before it was ready ({0}): see its log")]
    Ended(std::process::ExitStatus),
    /// It was not ready in time, and was stopped.
    #[error("it was not ready within {0:?}")]
    TooLong(Duration),
}

/// Starts `program` with the arguments of this process and these sockets, by their names, and
/// waits until it serves what this one does, at most `within`.
///
/// # Errors
/// When it does not come to that. It does not run then.
pub async fn hand_over(
    program: &Path,
    sockets: Vec<(String, std::net::TcpListener)>,
    within: Duration,
) -> Result<(), HandoverError> {
    let (ours, theirs) = UnixDatagram::pair()?;
    let mut names: Vec<String> = Vec::with_capacity(sockets.len() + 1);
    let mut passed: Vec<OwnedFd> = Vec::with_capacity(sockets.len() + 1);
    for (name, socket) in sockets {
        names.push(name);
        passed.push(socket.into());
    }
    names.push(PREDECESSOR.to_owned());
    passed.push(theirs.into());

    let mut command = std::process::Command::new(program);
    command
        .args(env::args_os().skip(1))
        .env("LISTEN_FDS", passed.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        // Meant for this process, if it was set.
        .env_remove("LISTEN_PID")
        .stdin(Stdio::null());
    let mappings = (FIRST..).zip(passed);
    let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    command
        .fd_mappings(mappings.collect())
        .map_err(io::Error::other)?;
    let mut command = Command::from(command);
    let child = command.spawn()?;
    let (pid, successor) = (std::process::id(), child.id());
    tracing::info!(pid, successor, "started the new process");
    // Its descriptors are the child's alone from here on: their end tells of the child's.
    drop(command);
    wait(child, ours, within).await
}

async fn wait(mut child: Child, line: UnixDatagram, within: Duration) -> Result<(), HandoverError> {
    line.set_nonblocking(true)?;
    let line = tokio::net::UnixDatagram::from_std(line)?;
    let mut said = [0; READY.len()];
    tokio::select! {
        biased;
        heard = line.recv(&mut said) => match heard {
            Ok(length) if said.get(..length) == Some(READY) => Ok(()),
            _ => Err(HandoverError::Ended(child.wait().await?)),
        },
        ended = child.wait() => Err(HandoverError::Ended(ended?)),
        () = tokio::time::sleep(within) => {
            child.kill().await?;
            Err(HandoverError::TooLong(within))
        }
    }
}
