use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::tls::provider;

async fn pair() -> (TcpStream, Corked) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), socket.accept());
    (near.unwrap(), Corked::new(far.unwrap().0))
}

/// What has come to a client: on loopback that is whatever was written.
fn come(client: &TcpStream) -> usize {
    let mut bytes = [0; 64 * 1024];
    rustix::net::recv(
        client,
        &mut bytes,
        rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT,
    )
    .map_or(0, |(some, _)| some)
}

#[tokio::test]
async fn a_flush_ends_the_waiting_of_small_writes_but_not_of_tickets() {
    let (mut client, mut corked) = pair().await;
    corked.write_all(b"hello").await.unwrap();
    corked.flush().await.unwrap();
    assert_eq!(come(&client), 0, "the client is not waited for yet");
    // It is now.
    let mut byte = [0];
    let reading = corked.read(&mut byte);
    assert!(futures_util::poll!(std::pin::pin!(reading)).is_pending());
    let mut read = [0; 5];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");

    corked.write_all(b"ticket").await.unwrap();
    corked.established();
    corked.flush().await.unwrap();
    let reading = corked.read(&mut byte);
    assert!(futures_util::poll!(std::pin::pin!(reading)).is_pending());
    assert_eq!(come(&client), 0, "nobody waits for tickets");
    corked.write_all(b"answer").await.unwrap();
    assert_eq!(come(&client), 0, "nothing was flushed yet");
    corked.flush().await.unwrap();
    assert_eq!(come(&client), b"ticketanswer".len());
    assert_eq!(corked.held.room(), 0, "there is no room for nothing");
}

#[tokio::test]
async fn what_ends_a_connection_goes_with_what_was_written_last() {
    let (mut client, mut corked) = pair().await;
    corked.established();
    corked.write_all(b"answer").await.unwrap();
    assert_eq!(come(&client), 0);
    corked.write_all(b"bye").await.unwrap();
    corked.shutdown().await.unwrap();
    drop(corked);
    let mut read = String::new();
    client.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "answerbye");
}

#[tokio::test]
async fn the_client_is_told_of_the_end_while_it_is_read_on() {
    let (mut client, corked) = pair().await;
    let (mut reader, mut writer) = tokio::io::split(corked);
    // It waits before the end, and goes on behind it.
    let mut rest = String::new();
    let reading = reader.read_to_string(&mut rest);
    let ending = async {
        tokio::task::yield_now().await;
        writer.shutdown().await.unwrap();
    };
    let hearing = async {
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.write_all(b"more").await.unwrap();
        client.shutdown().await.unwrap();
    };
    let (read, (), ()) = tokio::join!(reading, ending, hearing);
    read.unwrap();
    assert_eq!(rest, "more");
}

#[tokio::test]
async fn what_is_held_is_told_at_the_end_unless_that_is_a_reset() {
    for (resets, expected) in [(false, "why"), (true, "")] {
        let (mut client, mut corked) = pair().await;
        corked.uncork().await.unwrap();
        corked.write_all(b"why").await.unwrap();
        if resets {
            corked.reset();
        }
        drop(corked);
        let mut read = String::new();
        let ended = client.read_to_string(&mut read).await;
        assert_eq!((ended.is_err(), read.as_str()), (resets, expected));
    }
}

#[tokio::test]
async fn whatever_is_written_comes_once_and_in_order() {
    let (mut client, mut corked) = pair().await;
    corked.established();
    let sent: Vec<u8> = (0..2_000_000_u32).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let writing = async move {
        let mut rest = &sent[..];
        // Sizes on either side of what is held, flushed now and then.
        for turn in 0.. {
            let size = [1, 100, 5000, HELD_MAX, 70_000, 3, 4000][turn % 7].min(rest.len());
            let (piece, left) = rest.split_at(size);
            let (one, two) = piece.split_at(size / 3);
            let slices = [IoSlice::new(one), IoSlice::new(two)];
            let some = poll_fn(|cx| Pin::new(&mut corked).poll_write_vectored(cx, &slices)).await;
            let some = some.unwrap();
            corked.write_all(&piece[some..]).await.unwrap();
            if turn % 5 == 0 {
                corked.flush().await.unwrap();
            }
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        corked.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let reading = client.read_to_end(&mut read);
    let ((), read_all) = tokio::join!(writing, reading);
    read_all.unwrap();
    assert!(read == expected);
}

/// The records among `bytes`, by their lengths.
fn records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let [_, _, _, high, low, rest @ ..] = bytes {
        bytes = &rest[usize::from(u16::from_be_bytes([*high, *low]))..];
        count += 1;
    }
    count
}

#[tokio::test]
async fn the_tickets_of_a_handshake_go_with_the_first_answer() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let der = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let mut server = ServerConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], der)
        .unwrap();
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let config = ClientConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, corked) = pair().await;
    let connector = TlsConnector::from(Arc::new(config));
    let name = "localhost".try_into().unwrap();
    let (client, server) = tokio::join!(connector.connect(name, client), acceptor.accept(corked));
    let (client, mut server) = (client.unwrap(), server.unwrap());
    server.get_mut().0.established();
    assert_eq!(come(client.get_ref().0), 0);
    server.write_all(b"answer").await.unwrap();
    server.flush().await.unwrap();
    let mut bytes = vec![0; come(client.get_ref().0)];
    let (mut stream, _) = client.into_inner();
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(records(&bytes), 2, "the tickets and an answer");
}
