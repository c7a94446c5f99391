use envoy_types::pb::{
    envoy::service::discovery::v3::Resource as WireResource, google::protobuf::Any,
};
use prost::Message as _;

use super::*;
use crate::xds::{
    push::Push,
    testing::{barrier, contents, held, response, wire},
};

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

/// A configuration with a policy of the component that says `text`, on a route.
fn with_component(text: &str) -> (Saved, String) {
    let mut wasm = b"\0asm\x0d\0\x01\0\0".to_vec();
    let length = u8::try_from(text.len()).unwrap();
    wasm.extend([length + 1, length]);
    wasm.extend(text.as_bytes());
    let digest = fleetway_api::component_digest(&wasm);
    let component = v1::Component {
        name: digest.clone(),
        wasm: wasm.into(),
        ..v1::Component::default()
    };
    let component = WireResource {
        name: digest.clone(),
        version: "8".into(),
        resource: Some(Any {
            type_url: Kind::Component.type_url().into(),
            value: component.encode_to_vec(),
        }),
        ..WireResource::default()
    };
    let policy = wire(
        "8",
        &format!("{{kind: Policy, name: p, component: \"{digest}\", config: {{a: 1}}}}"),
    );
    let route = wire(
        "8",
        "{kind: Route, name: r0, policies: [{policy: p, stage: PRE_ROUTE}], respond: {status: 204}}",
    );
    let push = Push {
        base: held(1),
        responses: vec![
            response(Kind::Component, 8, "", vec![component], &[]),
            response(Kind::Policy, 8, "", vec![policy], &[]),
            response(Kind::Route, 8, "", vec![route], &[]),
            barrier(8, ""),
        ],
        barrier: true,
    };
    let saved = Saved {
        held: push.build().unwrap().held,
        server: "http://10.0.0.1:7081".into(),
    };
    (saved, digest)
}

/// The files of components in a state folder.
fn components(state: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(state.join("components"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_bytes_of_a_component_stand_beside_and_are_written_once() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let state = tempfile::tempdir().unwrap();
    let (one, digest) = with_component("the bytes of one");
    store(state.path(), "edge", &one).unwrap();
    let file = state.path().join(format!("components/{digest}.wasm"));
    let about = fs::metadata(&file).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    let record = fs::read(state.path().join(FILE_NAME)).unwrap();
    assert!(!record.windows(16).any(|part| part == b"the bytes of one"));
    assert_eq!(record[8], 3);
    let again = load(state.path(), "edge").unwrap().unwrap();
    assert_eq!(contents(&again.held), contents(&one.held));

    // With the next revision it is the same file.
    store(state.path(), "edge", &again).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().ino(), about.ino());
    // Another takes its place, and none is left where none is held.
    let (two, other) = with_component("two");
    store(state.path(), "edge", &two).unwrap();
    assert_eq!(components(state.path()), [format!("{other}.wasm")]);
    store(state.path(), "edge", &saved(1)).unwrap();
    assert!(components(state.path()).is_empty());
    assert_eq!(fs::read(state.path().join(FILE_NAME)).unwrap()[8], 2);
}

#[test]
fn other_bytes_than_those_of_the_digest_are_refused_and_written_anew() {
    let state = tempfile::tempdir().unwrap();
    let (saved, digest) = with_component("one");
    store(state.path(), "edge", &saved).unwrap();
    let file = state.path().join(format!("components/{digest}.wasm"));
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = load(state.path(), "edge").unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("the bytes of components/{digest} cannot be read")),
        "{error}"
    );
    store(state.path(), "edge", &saved).unwrap();
    assert!(load(state.path(), "edge").unwrap().is_some());
    fs::remove_file(&file).unwrap();
    assert!(load(state.path(), "edge").is_err());
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = encode("edge", &saved(2)).unwrap();
    assert!(decode(&bytes, "edge", no_component).is_ok());
    for length in 0..bytes.len() {
        assert!(
            decode(&bytes[..length], "edge", no_component).is_err(),
            "{length}"
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decode(&longer, "edge", no_component).is_err());
}

#[test]
fn a_file_with_any_bit_flipped_is_refused() {
    let bytes = encode("edge", &saved(1)).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped, "edge", no_component).is_err(), "bit {bit}");
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
        (of_format(FIRST_FORMAT - 1), "it is of format 1"),
        (of_format(FORMAT + 1), "it is of format 4"),
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
    let error = decode(&bytes, "edge", no_component).unwrap_err();
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
