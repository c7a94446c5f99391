use fleetway_api::ProxyProtocolVersion::{V1, V2};
use proptest::prelude::*;

use super::*;

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn header(length: usize, addresses: Option<Addresses>) -> Result<Parsed, Malformed> {
    Ok(Parsed::Header { length, addresses })
}

/// A header of version 2 with this command, kind and body.
fn binary(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE_V2, &[command, kind], &length, body].concat()
}

const V4: &[u8] = &[10, 0, 0, 1, 192, 168, 0, 1, 0x1f, 0x90, 0, 80];

fn with_extensions(extensions: &[&[u8]]) -> Vec<u8> {
    binary(0x21, 0x11, &[V4, &extensions.concat()].concat())
}

#[test]
fn a_line_says_who_the_client_is() {
    let line = b"PROXY TCP4 10.0.0.1 192.168.0.1 8080 80\r\nGET / HTTP/1.1\r\n";
    let want = addresses("10.0.0.1:8080", "192.168.0.1:80");
    assert_eq!(parse(line), header(41, Some(want)));
    let line = b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n";
    let want = addresses("[2001:db8::1]:65535", "[::1]:0");
    assert_eq!(parse(line), header(line.len(), Some(want)));
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN what ever it is\r\n"] {
        assert_eq!(parse(line.as_bytes()), header(line.len(), None));
    }
}

#[test]
fn a_line_that_is_not_to_the_letter_is_refused() {
    for fields in [
        "TCP4 10.0.0.1 192.168.0.1 8080 080",
        "TCP4 10.0.0.1 192.168.0.1 8080 65536",
        "TCP4 10.0.0.1 192.168.0.1 8080 +80",
        "TCP4 10.0.0.1 192.168.0.1 8080 ",
        "TCP4 10.0.0.1 192.168.0.1 8080",
        "TCP4 10.0.0.1 192.168.0.1 8080 80 ",
        "TCP4 10.0.0.1  192.168.0.1 8080 80",
        "TCP4 10.0.0.01 192.168.0.1 8080 80",
        "TCP4 ::1 ::1 8080 80",
        "TCP6 10.0.0.1 192.168.0.1 8080 80",
        "TCP5 10.0.0.1 192.168.0.1 8080 80",
        "UDP4 10.0.0.1 192.168.0.1 8080 80",
        "tcp4 10.0.0.1 192.168.0.1 8080 80",
        " TCP4 10.0.0.1 192.168.0.1 8080 80",
        "UNKNOWNS",
        "",
        "TCP4 10.0.0.1 192.168.0.1 8080 80\r",
    ] {
        let line = format!("PROXY {fields}\r\n");
        assert_eq!(parse(line.as_bytes()), Err(Malformed::Fields), "{line:?}");
    }
    for line in ["PROXY UNKNOWN\n", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\nx\r\n"] {
        assert_eq!(parse(line.as_bytes()), Err(Malformed::Line), "{line:?}");
    }
}

#[test]
fn a_line_has_at_most_107_bytes() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_eq!(parse(line(107).as_bytes()), header(107, None));
    assert_eq!(parse(line(108).as_bytes()), Err(Malformed::Line));
    assert_eq!(parse(&line(108).as_bytes()[..106]), Ok(Parsed::Incomplete));
}

#[test]
fn a_binary_header_says_who_the_client_is() {
    let want = addresses("10.0.0.1:8080", "192.168.0.1:80");
    let bytes = [&binary(0x21, 0x11, V4)[..], b"rest"].concat();
    assert_eq!(parse(&bytes), header(28, Some(want)));
    let mut body = [0; 36];
    (body[15], body[31], body[33], body[35]) = (1, 2, 3, 4);
    let want = addresses("[::1]:3", "[::2]:4");
    assert_eq!(parse(&binary(0x21, 0x21, &body)), header(52, Some(want)));
}

#[test]
fn a_connection_may_stand_for_itself() {
    for (command, kind, body) in [
        // LOCAL, as in health checks: nothing else counts.
        (0x20, 0x00, &[][..]),
        (0x20, 0x11, &V4[..3]),
        // UNSPEC; datagrams; Unix sockets.
        (0x21, 0x00, &[]),
        (0x21, 0x10, V4),
        (0x21, 0x12, V4),
        (0x21, 0x31, &[b'/'; 216]),
    ] {
        let bytes = binary(command, kind, body);
        assert_eq!(
            parse(&bytes),
            header(bytes.len(), None),
            "{command:x} {kind:x}"
        );
    }
}

#[test]
fn a_binary_header_of_another_version_kind_or_length_is_refused() {
    for (command, kind) in [
        (0x11, 0x11),
        (0x22, 0x11),
        (0x21, 0x41),
        (0x21, 0x13),
        (0x31, 0),
    ] {
        let parsed = parse(&binary(command, kind, V4));
        assert_eq!(parsed, Err(Malformed::Unknown), "{command:x} {kind:x}");
    }
    for (kind, size) in [(0x11, 11), (0x21, 35), (0x31, 215)] {
        let parsed = parse(&binary(0x21, kind, &vec![0; size]));
        assert_eq!(parsed, Err(Malformed::Length), "{kind:x}");
    }
    assert_eq!(
        parse(&binary(0x20, 0, &vec![0; MAX_LENGTH - 16])),
        header(MAX_LENGTH, None)
    );
    // Refused by its length alone, before it has come.
    let long = binary(0x20, 0, &vec![0; MAX_LENGTH - 15]);
    assert_eq!(parse(&long[..16]), Err(Malformed::TooLong));
}

#[test]
fn extensions_are_passed_over_and_the_checksum_is_checked() {
    let want = Some(addresses("10.0.0.1:8080", "192.168.0.1:80"));
    let host: &[u8] = b"\x02\0\x0bexample.com";
    let bytes = with_extensions(&[host, b"\x04\0\0"]);
    assert_eq!(parse(&bytes), header(bytes.len(), want));
    for cut in [&b"\x02"[..], b"\x02\0", b"\x02\0\x02x"] {
        assert_eq!(
            parse(&with_extensions(&[host, cut])),
            Err(Malformed::Length)
        );
    }

    let mut bytes = with_extensions(&[host, b"\x03\0\x04\0\0\0\0", b"\x04\0\x01x"]);
    let place = bytes.len() - 8;
    let sum = crc32c::crc32c(&bytes).to_be_bytes();
    bytes[place..place + 4].copy_from_slice(&sum);
    assert_eq!(parse(&bytes), header(bytes.len(), want));
    for wrong in [17, place, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[wrong] ^= 1;
        assert!(parse(&bytes).is_err() || wrong == 17, "byte {wrong}");
    }
    let short = with_extensions(&[b"\x03\0\x03abc"]);
    assert_eq!(parse(&short), Err(Malformed::Checksum));
}

#[test]
fn what_is_no_header_is_told_as_soon_as_it_can_be() {
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"POST",
        b"PROXX",
        b"\r\n\r\nGET",
        b"\x16\x03\x01",
    ] {
        assert_eq!(parse(bytes), Ok(Parsed::Absent), "{bytes:?}");
    }
}

/// A header of either version.
fn any_header() -> impl Strategy<Value = (Addresses, Vec<u8>)> {
    (any::<(SocketAddr, SocketAddr)>(), any::<bool>()).prop_map(|((source, destination), first)| {
        let plain =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let addresses = Addresses {
            source: plain(source),
            destination: plain(destination),
        };
        let version = if first { V1 } else { V2 };
        (addresses, encode(version, &addresses).as_bytes().to_vec())
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut((addresses, bytes) in any_header()) {
        for cut in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Incomplete));
        }
        let more = [&bytes[..], b"\0rest"].concat();
        let Ok(Parsed::Header { length, addresses: Some(read) }) = parse(&more) else {
            return Err(TestCaseError::fail("no header"));
        };
        prop_assert_eq!(length, bytes.len());
        let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        prop_assert_eq!(canonical(read.source), canonical(addresses.source));
        prop_assert_eq!(canonical(read.destination), canonical(addresses.destination));
    }

    #[test]
    fn anything_can_be_parsed(
        start in prop_oneof![Just(&b""[..]), Just(SIGNATURE_V1), Just(SIGNATURE_V2)],
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &rest].concat();
        if let Ok(Parsed::Header { length, .. }) = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
