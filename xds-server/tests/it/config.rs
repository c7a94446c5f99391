//! Where settings come from. Variables are set on child processes only, in `binary`.

use std::path::PathBuf;

use clap::Parser;
use fleetway_xds::config::{Config, Source};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    flags: Source,
}

fn flags(arguments: &[&str]) -> Source {
    Flags::parse_from([&["fleetway-xds"], arguments].concat()).flags
}

fn load(name: &str, text: &str, arguments: &[&str]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    Config::load(Some(&path), &flags(arguments))
        .map_err(|error| format!("{error:#}").replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let config = load(
        "xds.yaml",
        "data: /var/lib/fleetway\nrest: 127.0.0.1:1\nkeep_revisions: 7\nmax_body_bytes: 1000\ndrain_timeout: 1m30s\n",
        &["--rest", "127.0.0.1:2"],
    )
    .unwrap();
    assert_eq!(config.data, PathBuf::from("/var/lib/fleetway"));
    assert_eq!(config.rest.port(), 2);
    assert_eq!(config.xds.port(), 7081);
    assert_eq!(config.keep_revisions, 7);
    assert_eq!(config.max_body_bytes, 1000);
    assert_eq!(config.drain_timeout.as_secs(), 90);
    let toml = load("xds.toml", "data = 'd'\nlog = 'debug'\n", &[]).unwrap();
    assert_eq!(toml.log, "debug");
    assert_eq!(toml.keep_revisions, 10_000);
    let all = load(
        "xds.toml",
        "data = 'd'\nkeep_revisions = 7\n",
        &["--keep-revisions", "0"],
    );
    assert_eq!(all.unwrap().keep_revisions, 0);
}

#[test]
fn unknown_keys_and_bad_values_are_refused_with_key_and_source() {
    for (name, text, says) in [
        (
            "a.yaml",
            "data: d\nport: 1\n",
            "a.yaml: port: unknown field",
        ),
        ("a.toml", "data = 'd'\nrest = 'here'\n", "a.toml: rest: "),
        (
            "a.yaml",
            "max_body_bytes: many\n",
            "a.yaml: max_body_bytes: \"many\" must be a whole number",
        ),
        (
            "a.yaml",
            "keep_revisions: -1\n",
            "a.yaml: keep_revisions: must be a whole number",
        ),
        (
            "a.yaml",
            "drain_timeout: 5\n",
            "a.yaml: drain_timeout: invalid type",
        ),
        ("a.yaml", "data: [\n", "a.yaml"),
        (
            "a.json",
            "{}",
            "a.json: the configuration must be a .yaml, .yml or .toml file",
        ),
        (
            "a.yaml",
            "data: d\ntls_cert: c\ntls_key: k\ntls_client_crl: l\n",
            "tls_client_crl: has no effect without tls_client_ca",
        ),
        (
            "a.yaml",
            "data: d\ntls_cert: c\ntls_key: k\ntls_client_identity: san\n",
            "tls_client_identity: san has no effect without tls_client_ca",
        ),
        (
            "a.yaml",
            "data: d\ntls_client_identity: 'off'\n",
            "tls_cert: is missing",
        ),
        (
            "a.yaml",
            "data: d\nrest: localhost:7080\n",
            "a.yaml: rest: \"localhost:7080\" is not IP:PORT, such as 127.0.0.1:8080 or [::1]:8080 (host names are not resolved)",
        ),
        (
            "a.yaml",
            "data: d\ntls_client_identity: name\n",
            "a.yaml: tls_client_identity: ",
        ),
        (
            "a.yaml",
            "data: d\ntls_client_ca: a\n",
            "tls_cert: is missing",
        ),
        (
            "a.yaml",
            "rest: 127.0.0.1:0\n",
            "no data directory: give --data DIR",
        ),
    ] {
        let error = load(name, text, &[]).unwrap_err();
        assert!(error.starts_with(says), "{error}\nnot {says}");
    }
    let missing = Config::load(Some("none.yaml".as_ref()), &flags(&[])).unwrap_err();
    assert!(
        format!("{missing:#}").starts_with("cannot read the configuration none.yaml"),
        "{missing:#}"
    );
}

#[test]
fn the_sample_of_the_settings_of_a_service_is_taken() {
    let sample = include_str!("../../../deploy/systemd/xds.yaml");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("master.key");
    let text = fleetway_xds::store::MasterKey::generate()
        .unwrap()
        .to_text();
    crate::support::write_private(&key, text.as_bytes());
    let place = "/run/credentials/fleetway-xds.service/master.key";
    assert!(sample.contains(place), "{sample}");
    let sample = sample.replace(place, key.to_str().unwrap());
    let config = load("xds.yaml", &sample, &["--data", "d"]).unwrap();
    assert!(config.master_key.is_some());
    let warned = fleetway_xds::tls::open_to(config.xds, config.tls.as_ref());
    assert_eq!(warned, None);
}
