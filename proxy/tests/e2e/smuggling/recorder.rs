//! An upstream that keeps every byte it is sent and answers what can be read in one way only.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::strict;
use crate::support::eventually;

/// The bytes of each connection, and whether it has ended.
type Connections = Arc<Mutex<Vec<(Vec<u8>, bool)>>>;

/// It ends when its handle goes.
#[derive(Debug)]
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Connections,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let connections = Connections::default();
        let all = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let index = {
                    let mut all = all.lock().expect("no panic");
                    all.push((Vec::new(), false));
                    all.len() - 1
                };
                let all = all.clone();
                tokio::spawn(async move {
                    let mut stream = stream;
                    serve(&mut stream, &all, index).await;
                    // Sent on purpose or not: nothing that comes is left out.
                    while receive(&mut stream, &all, index).await {}
                    all.lock().expect("no panic")[index].1 = true;
                });
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// What came over each connection, once all have ended.
    pub async fn all(&self) -> Vec<Vec<u8>> {
        eventually("the end of every connection", async || {
            let all = self.connections.lock().expect("no panic");
            let ended = all.iter().all(|(_, ended)| *ended);
            ended.then(|| all.iter().map(|(bytes, _)| bytes.clone()).collect())
        })
        .await
    }
}

/// Whether something came.
async fn receive(stream: &mut TcpStream, all: &Connections, index: usize) -> bool {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes).await {
        Ok(0) | Err(_) => false,
        Ok(some) => {
            let mut all = all.lock().expect("no panic");
            all[index].0.extend_from_slice(&bytes[..some]);
            true
        }
    }
}

/// Answers requests with 200, or with the status in their field `x-answer`; those with `x-early`
/// before their body, without a word of going on.
async fn serve(stream: &mut TcpStream, all: &Connections, index: usize) {
    let mut taken = 0;
    // Where the request begins that had an answer, of whichever kind, to its head.
    let mut told = None;
    loop {
        let bytes = all.lock().expect("no panic")[index].0[taken..].to_vec();
        // What cannot be read is not answered; the test finds it in what was kept.
        let Ok(head) = strict::head(&bytes) else {
            return;
        };
        if let Some((head, _)) = head
            && told != Some(taken)
        {
            let answer = match head.field("x-early") {
                Some(_) => OK,
                None if head.field("expect").is_some() => "HTTP/1.1 100 Continue\r\n\r\n",
                None => "",
            };
            told = Some(taken);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        let Ok(whole) = strict::message(&bytes, false) else {
            return;
        };
        let Some((request, rest)) = whole else {
            if !receive(stream, all, index).await {
                return;
            }
            continue;
        };
        taken += bytes.len() - rest.len();
        let status = request.field("x-answer").unwrap_or("200 OK");
        let answer = match request.field("x-early") {
            Some(_) => String::new(),
            None if request.line.starts_with("HEAD ") => OK.replace("ok", ""),
            None => OK.replace("200 OK", status),
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
