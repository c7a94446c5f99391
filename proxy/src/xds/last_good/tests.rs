use super::*;
use crate::xds::testing::{contents, held};

fn saved(routes: usize) -> Saved {
    Saved {
        held: held(routes),
        server: "http://10.0.0.1:7081".into(),
    }
}

#[test]
fn what_is_stored_is_loaded_again() {
    let state = tempfile::tempdir().unwrap();
    assert!(load(state.path(), "edge").unwrap().is_none());
    let one = saved(3);
    store(state.path(), "edge", &one).unwrap();
    let other = load(state.path(), "edge").unwrap().unwrap();
    assert_eq!(contents(&other.held), contents(&one.held));
    assert_eq!(other.held.revision(), one.held.revision());
    assert_eq!(other.server, one.server);

    // The next one takes its place, and no other file is left.
    store(state.path(), "edge", &saved(1)).unwrap();
    assert_eq!(
        load(state.path(), "edge")
            .unwrap()
            .unwrap()
            .held
            .resources()
            .len(),
        2
    );
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = encode("edge", &saved(2)).unwrap();
    assert!(decode(&bytes, "edge").is_ok());
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length], "edge").is_err(), "{length}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decode(&longer, "edge").is_err());
}

#[test]
fn a_file_with_any_bit_flipped_is_refused() {
    let bytes = encode("edge", &saved(1)).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped, "edge").is_err(), "bit {bit}");
    }
}

#[test]
fn a_refused_file_is_kept_aside_with_the_reason() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join(FILE_NAME);
    let aside = state.path().join("last-good.bin.bad");
    let mut newer = encode("edge", &saved(1)).unwrap();
    newer[8] = 2;
    for (bytes, reason) in [
        (newer, "it is of format 2"),
        (
            b"something else entirely, long enough".to_vec(),
            "it begins with something else",
        ),
        (
            encode("core", &saved(1)).unwrap(),
            "it is of fleet \"core\", and this proxy is of fleet \"edge\"",
        ),
    ] {
        fs::write(&path, &bytes).unwrap();
        let error = load(state.path(), "edge").unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(!path.exists());
        assert_eq!(fs::read(&aside).unwrap(), bytes);
        assert!(load(state.path(), "edge").unwrap().is_none());
    }
}

#[test]
fn a_sound_file_of_a_configuration_that_is_not_valid_is_refused() {
    let mut bytes = encode("edge", &saved(1)).unwrap();
    // The cluster gets another name; the checksum is made to fit.
    let (header, body) = bytes.split_at_mut(HEADER);
    let at = body.windows(3).position(|window| window == [10, 1, b'c']);
    body[at.unwrap() + 2] = b'd';
    header[12..16].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let error = decode(&bytes, "edge").unwrap_err();
    assert!(matches!(error, LoadError::Invalid(_)), "{error}");
    assert!(
        error.to_string().contains("there is no clusters/c"),
        "{error}"
    );
}

#[test]
fn a_store_that_cannot_write_leaves_the_old_file() {
    let state = tempfile::tempdir().unwrap();
    store(state.path(), "edge", &saved(1)).unwrap();
    fs::create_dir(state.path().join("last-good.bin.tmp")).unwrap();
    assert!(store(state.path(), "edge", &saved(2)).is_err());
    let kept = load(state.path(), "edge").unwrap().unwrap();
    assert_eq!(kept.held.resources().len(), 2);
}

#[tokio::test]
async fn the_newest_is_written_before_the_keeper_ends() {
    let state = tempfile::tempdir().unwrap();
    let (newest, receiver) = watch::channel(None);
    let shutdown = CancellationToken::new();
    for routes in 1..=5 {
        newest.send_replace(Some(saved(routes)));
    }
    shutdown.cancel();
    keep(state.path().to_owned(), "edge".into(), receiver, shutdown).await;
    let kept = load(state.path(), "edge").unwrap().unwrap();
    assert_eq!(kept.held.resources().len(), 6);
}

/// `cargo test --release -p fleetway-proxy --lib -- --ignored --nocapture figures`
#[test]
#[ignore = "prints figures, checks nothing"]
fn figures_at_a_hundred_thousand_routes() {
    use fleetway_api::Kind;

    use crate::xds::{
        push::Push,
        testing::{barrier, response, route},
    };

    let state = tempfile::tempdir().unwrap();
    store(state.path(), "edge", &saved(100_000)).unwrap();
    // All are kept, so that none takes the memory of the one before.
    let mut kept = Vec::new();
    for round in 0..3 {
        let began = std::time::Instant::now();
        let before = resident();
        let saved = load(state.path(), "edge").unwrap().unwrap();
        let loaded = began.elapsed();
        let per_route = resident().saturating_sub(before) / 100_000;
        let began = std::time::Instant::now();
        let bytes = encode("edge", &saved).unwrap().len();
        let encoded = began.elapsed();
        store(state.path(), "edge", &saved).unwrap();
        let stored = began.elapsed() - encoded;
        let one = Push {
            base: saved.held.clone(),
            responses: vec![
                response(Kind::Route, 8, "", vec![route("8", "r500", "c")], &[]),
                barrier(8, ""),
            ],
            barrier: true,
        };
        let began = std::time::Instant::now();
        let next = one.build().unwrap();
        println!(
            "{} bytes: load {loaded:?}, encode {encoded:?}, encode and store {stored:?}; resident {per_route} bytes a route (round {round}); push of one route built in {:?}, {} changed",
            bytes,
            began.elapsed(),
            next.changed.len(),
        );
        kept.push((saved, next));
    }
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
