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
    let of_format = |format: u32| {
        let mut bytes = encode("edge", &saved(1)).unwrap();
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        bytes
    };
    for (bytes, reason) in [
        (of_format(FORMAT - 1), "it is of format 1"),
        (of_format(FORMAT + 1), "it is of format 3"),
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
