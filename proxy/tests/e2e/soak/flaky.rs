//! An upstream that fails when it is told to.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::record::Record;
use crate::support::eventually;

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is killed: nobody listens, and its connections are gone.
    Gone,
    /// It takes requests and does not answer.
    Stalled,
    /// It resets the connection of each request.
    Resetting,
}

/// The upstream. It ends when its handle goes.
#[derive(Debug)]
pub struct Flaky {
    /// Where it listens, if it does.
    pub address: SocketAddr,
    fault: watch::Sender<Option<Fault>>,
    task: JoinHandle<()>,
}

impl Drop for Flaky {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Flaky {
    pub async fn start() -> Self {
        // Of an address that nobody else asks for a port, so that it is there when it comes back.
        let socket = TcpListener::bind("127.0.0.9:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let (fault, said) = watch::channel(None);
        Self {
            address,
            fault,
            task: tokio::spawn(run(socket, address, said)),
        }
    }

    /// Fails from now on.
    pub fn fail(&self, fault: Fault, record: &Record) {
        record.fault_begins(format!("{fault:?}"));
        self.fault.send_replace(Some(fault));
    }

    /// Is in order again, once this returns.
    pub async fn mend(&self, record: &Record) {
        if self.fault.send_replace(None).is_some() {
            eventually("it listens again", async || {
                TcpStream::connect(self.address).await.ok()
            })
            .await;
            record.fault_ends();
        }
    }
}

async fn run(socket: TcpListener, address: SocketAddr, mut fault: watch::Receiver<Option<Fault>>) {
    let mut socket = Some(socket);
    loop {
        let listening = match socket.take() {
            Some(listening) => listening,
            None => TcpListener::bind(address).await.expect("its own port"),
        };
        serve(&listening, &mut fault).await;
        drop(listening);
        let mended = fault.wait_for(|fault| *fault != Some(Fault::Gone)).await;
        if mended.is_err() {
            return;
        }
    }
}

/// Serves until it is killed. Its connections end with this.
async fn serve(socket: &TcpListener, fault: &mut watch::Receiver<Option<Fault>>) {
    let mut connections = JoinSet::new();
    let told = fault.clone();
    let killed = fault.wait_for(|fault| *fault == Some(Fault::Gone));
    tokio::pin!(killed);
    loop {
        tokio::select! {
            _ = &mut killed => return,
            Ok((stream, _)) = socket.accept() => {
                connections.spawn(connection(stream, told.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, fault: watch::Receiver<Option<Fault>>) {
    // What it drops is reset.
    let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.expect("a socket");
    let service = service_fn(move |_: Request<Incoming>| {
        let mut fault = fault.clone();
        async move {
            let _ = fault.wait_for(|fault| *fault != Some(Fault::Stalled)).await;
            if *fault.borrow() == Some(Fault::Resetting) {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            Ok::<_, io::Error>(Response::new(Full::new(Bytes::from_static(b"flaky"))))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
