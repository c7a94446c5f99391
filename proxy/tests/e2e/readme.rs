//! The README's tour does what it says.

use std::{fs, path::Path};

use crate::support::{Proxy, Server, Upstream, run_shell};

/// One command of a `console` block, with the lines it is said to print.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut here_document = false;
    for line in readme.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            line => match line.strip_prefix("$ ") {
                Some(command) => {
                    here_document = command.contains("<<END");
                    steps.push(Step {
                        command: command.to_owned(),
                        expected: Vec::new(),
                    });
                }
                None => {
                    let step = steps.last_mut().expect("a command before its output");
                    let quote_open = step.command.matches('\'').count() % 2 == 1;
                    if here_document || quote_open {
                        step.command += "\n";
                        step.command += line;
                        here_document &= line != "END";
                    } else {
                        step.expected.push(line.to_owned());
                    }
                }
            },
        }
    }
    steps
}

/// Whether the parts between the `…` of `expected` stand in `line`, in their order; a line without
/// one must be the same to the letter.
fn matches(expected: &str, line: &str) -> bool {
    if !expected.contains('…') {
        return expected == line;
    }
    let mut rest = line;
    for part in expected.split('…') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_of_the_readme_does_what_it_says() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let asked = |name: &'static str| {
        move |head: http::request::Parts, _| {
            http::Response::new(format!("{name} here, asked for {}\n", head.uri))
        }
    };
    let (v1, v2) = (
        Upstream::answering(asked("users-v1")).await,
        Upstream::answering(asked("users-v2")).await,
    );
    let server = Server::start().await;
    let blue = Proxy::of(&server, "proxy-blue", "blue").await;
    let green = Proxy::of(&server, "proxy-green", "green").await;

    let folder = tempfile::tempdir().expect("a folder");
    let quickstart = folder.path().join("testdata/quickstart");
    fs::create_dir_all(&quickstart).expect("a folder");
    for entry in fs::read_dir(root.join("testdata/quickstart")).expect("the quickstart") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path)
            .expect("a text")
            .replace("127.0.0.1:9081", &v1.address.to_string())
            .replace("127.0.0.1:9082", &v2.address.to_string())
            .replace("127.0.0.1:8081", "127.0.0.1:0")
            .replace("127.0.0.1:8082", "127.0.0.1:0");
        fs::write(quickstart.join(path.file_name().expect("a name")), text).expect("a file");
    }
    let apply = "fleetway apply -f testdata/quickstart --wait -m quickstart";
    let (_, output) = run_shell(server.rest, folder.path(), apply).await;
    assert!(
        output.contains("is live on 2 of 2 connected nodes"),
        "{output}"
    );

    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let secure = free.local_addr().expect("an address").port().to_string();
    drop(free);
    let samples = root.join("testdata/policies");
    let places = [
        ("8443", secure),
        ("$SAMPLES", samples.display().to_string()),
        ("127.0.0.1:7080", server.rest.to_string()),
        ("127.0.0.1:9901", blue.admin.to_string()),
        (
            "127.0.0.1:8081",
            blue.listener("web-blue").await.to_string(),
        ),
        (
            "127.0.0.1:8082",
            green.listener("web-green").await.to_string(),
        ),
    ];
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let steps = steps(&readme);
    assert!(steps.len() > 10, "the tour is found");
    for step in steps {
        let command = places
            .iter()
            .fold(step.command, |text, (from, to)| text.replace(from, to));
        let (_, output) = run_shell(server.rest, folder.path(), &command).await;
        let mut lines = output.lines();
        for expected in step.expected.iter().filter(|line| *line != "…") {
            assert!(
                lines.any(|line| matches(expected, line)),
                "`{command}` does not print\n  {expected}\nbut\n{output}"
            );
        }
    }
}
