//! The program without a server: what it checks by itself, how it fails, what it promises to
//! scripts.

use std::{
    io::Write as _,
    net::TcpListener,
    process::{Command, Stdio},
};

use crate::documents::testdata;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn fleetway(args: &[&str]) -> Run {
    fleetway_with(args, &[], "")
}

/// Runs the program with these variables and this standard input.
pub(crate) fn fleetway_with(args: &[&str], variables: &[(&str, &str)], input: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetway"));
    command
        .args(args)
        .env_remove("FLEETWAY_SERVER")
        .env_remove("FLEETWAY_AUTHOR")
        .env_remove("VISUAL")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that does not read its input closes it; that is no fault of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An address where nobody listens: ports below 1024 are not given out by chance.
const NOBODY: &str = "http://127.0.0.1:1";

#[test]
fn the_quickstart_is_valid() {
    let folder = testdata().join("quickstart");
    let run = fleetway(&["validate", "-f", folder.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.ends_with("10 resources, valid together\n"),
        "{run:?}"
    );
    assert_eq!(run.stderr, "");
}

#[test]
fn validate_prints_every_fault_with_its_file_and_exits_with_2() {
    let file = testdata().join("resources/invalid/route-action.yaml");
    let file = file.to_str().unwrap();
    let run = fleetway(&["validate", "-f", file]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.starts_with("error: 22 faults\n"), "{run:?}");
    assert!(
        run.stderr.contains(&format!(
            "\n  {file}: routes/no-action: has no action: give it `forward`"
        )),
        "{run:?}"
    );
}

#[test]
fn validate_checks_resources_together_unless_told_otherwise() {
    let routes = testdata().join("quickstart/routes.yaml");
    let routes = routes.to_str().unwrap();
    let together = fleetway(&["validate", "-f", routes]);
    assert_eq!(together.code, 2, "{together:?}");
    assert!(
        together.stderr.contains("there is no clusters/users-v1")
            && together.stderr.contains("give --each"),
        "{together:?}"
    );
    let each = fleetway(&["validate", "--each", "-f", routes]);
    assert_eq!(each.code, 0, "{each:?}");
    let clusters = testdata().join("quickstart/clusters.yaml");
    let both = fleetway(&["validate", "-f", routes, "-f", clusters.to_str().unwrap()]);
    assert_eq!(both.code, 0, "{both:?}");
}

#[test]
fn validate_reports_what_is_wrong_with_each_and_together_at_once() {
    let text = "{kind: Cluster, name: bad, connect_timeout: 0s}
---
{kind: Route, name: a, match: {path: {prefix: /a}}, forward: {clusters: [{name: bad}]}}
---
{kind: Route, name: b, match: {path: {prefix: /b}}, forward: {clusters: [{name: gone}]}}
";
    let run = fleetway_with(&["validate", "-f", "-"], &[], text);
    assert_eq!(run.code, 2, "{run:?}");
    let begins = "error: 2 faults
  standard input: clusters/bad: connect_timeout: must be between 1ms and 5m
  standard input: routes/b: forward.clusters[0].name: there is no clusters/gone: add it too, or refer to one that is there
";
    assert!(run.stderr.starts_with(begins), "{run:?}");
    let each = fleetway_with(&["validate", "--each", "-f", "-"], &[], text);
    assert!(!each.stderr.contains("clusters/gone"), "{each:?}");
}

#[test]
fn validate_reads_standard_input_and_prints_json() {
    let text = "{\"kind\": \"Cluster\", \"name\": \"a\"}";
    let run = fleetway_with(&["validate", "-f", "-", "-o", "json"], &[], text);
    assert_eq!(run.code, 0, "{run:?}");
    let printed: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        printed,
        serde_json::json!([{"kind": "Cluster", "name": "a"}])
    );
}

#[test]
fn nothing_to_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for command in ["validate", "apply", "delete"] {
        let empty = fleetway(&[command, "-f", path]);
        assert_eq!(empty.code, 1, "{empty:?}");
        assert!(
            empty.stderr.contains("there are no resources in"),
            "{empty:?}"
        );
        let missing = fleetway(&[command, "-f", &format!("{path}/missing")]);
        assert_eq!(missing.code, 2, "{missing:?}");
        assert!(
            missing.stderr.contains("missing: cannot be read"),
            "{missing:?}"
        );
        let nothing = fleetway(&[command, "-f", "-"]);
        assert!(
            nothing
                .stderr
                .contains("there are no resources in standard input:"),
            "{nothing:?}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let server = NOBODY;
    let file = testdata().join("quickstart");
    let file = file.to_str().unwrap();
    for args in [
        &["status"][..],
        &["get", "routes"],
        &["get", "all"],
        &["get", "nodes"],
        &["apply", "-f", file],
        &["delete", "route", "a"],
        &["edit", "route", "a"],
        &["revisions"],
        &["show", "1"],
    ] {
        let mut all = vec!["--server", server];
        all.extend(args);
        let run = fleetway(&all);
        assert_eq!(run.code, 5, "{args:?}: {run:?}");
        assert!(
            run.stderr
                .contains(&format!("cannot reach the server at {server}"))
                && run.stderr.contains("FLEETWAY_SERVER"),
            "{args:?}: {run:?}"
        );
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time() {
    // It accepts, by its backlog, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let run = fleetway(&["--server", &server, "--timeout", "100ms", "status"]);
    assert_eq!(run.code, 5, "{run:?}");
    assert!(
        run.stderr.contains("did not answer within 100ms"),
        "{run:?}"
    );
}

#[test]
fn the_server_is_taken_from_the_environment_and_the_flag_goes_first() {
    let server = NOBODY;
    let run = fleetway_with(&["status"], &[("FLEETWAY_SERVER", server)], "");
    assert!(run.stderr.contains(server), "{run:?}");
    let other = "http://127.0.0.1:2";
    let args = ["status", "--server", other];
    let run = fleetway_with(&args, &[("FLEETWAY_SERVER", server)], "");
    assert!(run.stderr.contains(other), "{run:?}");
}

#[test]
fn wrong_usage_exits_with_1() {
    for args in [
        &["frobnicate"][..],
        &["apply"],
        &["get"],
        &["get", "rout"],
        &["get", "all", "a"],
        &["get", "route", "Not A Name"],
        &["delete"],
        &["delete", "route"],
        &["delete", "route", "a", "-f", "x"],
        &["edit", "route", "a", "b"],
        &["revisions", "-n", "0"],
        &["show", "one"],
        &["get", "routes", "--plain"],
        &["get", "nodes", "--plain", "-o", "yaml"],
        &["apply", "-f", "x", "--wait=soon"],
        &["apply", "-f", "x", "--wait-nodes", "all"],
        &["apply", "-f", "x", "--wait", "--wait-nodes", "0%"],
        &["--timeout", "0s", "status"],
        &["--server", "ftp://a", "status"],
        &["--author", "a\nb", "status"],
    ] {
        let run = fleetway(args);
        assert_eq!(run.code, 1, "{args:?}: {run:?}");
        assert!(run.stderr.starts_with("error: "), "{args:?}: {run:?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
}

#[test]
fn common_slips_are_told_what_to_write() {
    for (args, tip) in [
        (&["apply", "hello.yaml"][..], "-f hello.yaml"),
        (&["validate", "a.yaml"], "-f a.yaml"),
        (&["apply", "-f", "x", "--wait", "10s"], "--wait=10s"),
        (&["status", "--watch", "2s"], "--watch=2s"),
        (&["status", "-w", "2s"], "--watch=2s"),
    ] {
        let run = fleetway(args);
        assert_eq!(run.code, 1, "{args:?}: {run:?}");
        assert!(run.stderr.contains("tip: "), "{args:?}: {run:?}");
        assert!(run.stderr.contains(tip), "{args:?}: {run:?}");
    }
}

#[test]
fn help_names_every_command_and_exit_code() {
    let run = fleetway(&["--help"]);
    assert_eq!(run.code, 0);
    for wanted in [
        "apply",
        "get",
        "delete",
        "edit",
        "status",
        "revisions",
        "show",
        "validate",
        "completions",
        "version",
        "Exit codes:",
        "  6  ",
    ] {
        assert!(run.stdout.contains(wanted), "{wanted}");
    }
}

#[test]
fn the_documentation_has_every_command() {
    let docs = std::fs::read_to_string(testdata().join("../docs/cli.md")).unwrap();
    let help = fleetway(&["--help"]).stdout;
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next());
    for command in commands {
        assert!(docs.contains(&format!("## `{command}")), "{command}");
        let help = fleetway(&[command, "--help"]).stdout;
        let options = help.split("Global options:").next().unwrap();
        for option in options
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.split(['[', '=', '.', ',', '`']).next().unwrap())
            .filter(|word| !word.is_empty() && *word != "help")
        {
            assert!(
                docs.contains(&format!("--{option}")),
                "{command} --{option}"
            );
        }
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = fleetway(&["completions", shell]);
        assert_eq!(run.code, 0, "{shell}");
        assert!(run.stdout.contains("validate"), "{shell}");
    }
}

#[test]
fn the_version_is_told_without_a_server() {
    let server = NOBODY;
    let run = fleetway(&["--server", server, "version"]);
    assert_eq!(run.code, 0, "{run:?}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        run.stdout,
        format!("client: {version}\nserver: no answer from {server}\n")
    );
}

#[test]
fn colours_are_for_terminals_or_on_demand() {
    let server = NOBODY;
    let plain = fleetway(&["--server", server, "status"]);
    assert!(!plain.stderr.contains('\u{1b}'), "{plain:?}");
    let always = fleetway(&["--server", server, "--color", "always", "status"]);
    assert!(always.stderr.contains('\u{1b}'), "{always:?}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let program = env!("CARGO_BIN_EXE_fleetway");
    for args in ["completions bash", "--help", "validate -f ."] {
        let line = format!(
            "cd {}/quickstart && ({program} {args}; echo $? >&2) | true",
            testdata().display()
        );
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told == "0\n", "{args}: {told}");
    }
}

#[test]
fn validate_refuses_what_has_expired_and_quotes_no_key() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let chain = params.self_signed(&key).unwrap().pem();
    let document = serde_json::json!({"kind": "Secret", "name": "web",
        "certificate": {"chain": chain, "private_key": key.serialize_pem()}});
    let run = fleetway_with(&["validate", "-f", "-"], &[], &document.to_string());
    assert_eq!(run.code, 2, "{run:?}");
    let says = "standard input: secrets/web: certificate.chain: the certificate of";
    assert!(run.stderr.contains(says), "{run:?}");
    assert!(run.stderr.contains("expired at 2020-01-01"), "{run:?}");
    for line in key.serialize_pem().lines().skip(1) {
        assert!(!run.stderr.contains(line), "{run:?}");
    }
}

#[test]
fn a_variable_that_is_empty_is_as_one_that_is_not_there() {
    for name in ["FLEETWAY_CA", "FLEETWAY_AUTHOR"] {
        let run = fleetway_with(&["status", "--server", NOBODY], &[(name, "")], "");
        assert_eq!(run.code, 5, "{run:?}");
    }
    let empty = fleetway_with(&["status", "--help"], &[("FLEETWAY_SERVER", "")], "");
    assert_eq!(empty.code, 0, "{empty:?}");
    let given = fleetway(&["status", "--server", NOBODY, "--ca", ""]);
    assert_eq!(given.code, 1, "{given:?}");
}
