//! `get`: resources, nodes and revisions.

use std::time::{Duration, SystemTime};

use fleetway_api::{
    CertificateFacts, CrlFacts, Kind,
    client::{Client, Selection},
    document::{self, Format},
    rest::{Node, Page},
};
use serde_json::Value;

use super::{revisions, show, status, targets};
use crate::{
    args::Get,
    output::Output,
    table::{self, Cell},
};

pub(crate) async fn run(client: &Client, args: &Get, output: &mut Output) -> anyhow::Result<()> {
    let what = args.kind.to_ascii_lowercase();
    if args.plain && output.is_table() {
        anyhow::bail!("--plain is of documents: give -o yaml or -o json with it");
    }
    match what.as_str() {
        "nodes" | "node" | "proxies" | "proxy" => nodes(client, args, output).await,
        "revisions" | "revision" => log(client, args, output).await,
        "all" => {
            no_names(args)?;
            lists(client, &Kind::ALL, args, output).await
        }
        _ if args.names.is_empty() && !what.contains('/') => {
            lists(client, &[kind(&args.kind)?], args, output).await
        }
        _ => named(client, args, output).await,
    }
}

fn kind(text: &str) -> anyhow::Result<Kind> {
    text.parse().map_err(|_| {
        anyhow::anyhow!(
            "unknown kind \"{text}\": write listeners, routes, clusters, endpoints, secrets, all, nodes or revisions"
        )
    })
}

/// The documents of whole kinds.
async fn lists(
    client: &Client,
    kinds: &[Kind],
    args: &Get,
    output: &mut Output,
) -> anyhow::Result<()> {
    let selection = Selection {
        label: args.label.clone(),
        fleet: args.fleet.clone(),
    };
    let mut all: Option<Page<Value>> = None;
    for kind in kinds {
        let page = client.list(*kind, &selection).await?;
        match &mut all {
            None => all = Some(page),
            Some(all) => all.items.extend(page.items),
        }
    }
    let Some(mut page) = all else { return Ok(()) };
    if args.plain {
        page.items.iter_mut().for_each(without_meta);
    }
    match output.format() {
        Some(Format::Json) => output.body(&page),
        // A stream of documents, as files hold them.
        Some(Format::Yaml) => output.write(&document::to_text(&page.items, Format::Yaml)),
        None if page.items.is_empty() => {
            output.line(&format!("none at revision {}", page.revision))
        }
        None => documents(&page.items, output),
    }
}

/// Documents by their names.
async fn named(client: &Client, args: &Get, output: &mut Output) -> anyhow::Result<()> {
    if args.label.is_some() || args.fleet.is_some() {
        anyhow::bail!("--label and --fleet select from a list: leave them out, or the names");
    }
    let mut words = vec![args.kind.clone()];
    words.extend(args.names.iter().cloned());
    let mut items = Vec::new();
    for id in targets(&words)? {
        items.push(client.get(&id).await?);
    }
    if args.plain {
        items.iter_mut().for_each(without_meta);
    }
    match output.format() {
        Some(format) => output.write(&document::to_text(&items, format)),
        None => documents(&items, output),
    }
}

/// Leaves out what a read adds: the version, which a write takes as a condition, and the rest.
fn without_meta(document: &mut Value) {
    if let Value::Object(fields) = document {
        fields.shift_remove("meta");
    }
}

async fn nodes(client: &Client, args: &Get, output: &mut Output) -> anyhow::Result<()> {
    not_plain(args)?;
    if args.label.is_some() {
        anyhow::bail!("nodes have no labels: select them with --fleet");
    }
    let page = match args.names.as_slice() {
        [] => status::select(client.nodes().await?, args.fleet.as_deref()),
        [one] => {
            let node = client.node(one).await?;
            if !output.is_table() {
                return output.body(&node);
            }
            page_of(vec![node])
        }
        many => {
            let mut nodes = Vec::new();
            for id in many {
                nodes.push(client.node(id).await?);
            }
            page_of(nodes)
        }
    };
    if output.is_table() {
        status::table(&page.items, output)
    } else {
        output.body(&page)
    }
}

fn not_plain(args: &Get) -> anyhow::Result<()> {
    anyhow::ensure!(!args.plain, "--plain is of resources: leave it out");
    Ok(())
}

fn page_of(items: Vec<Node>) -> Page<Node> {
    Page {
        items,
        next_page_token: None,
        revision: 0,
    }
}

async fn log(client: &Client, args: &Get, output: &mut Output) -> anyhow::Result<()> {
    not_plain(args)?;
    if args.label.is_some() || args.fleet.is_some() {
        anyhow::bail!("revisions are selected by number only: leave --label and --fleet out");
    }
    match args.names.as_slice() {
        [] => revisions::list(client, revisions::DEFAULT_COUNT, output).await,
        [one] => {
            let number = one
                .parse()
                .map_err(|_| anyhow::anyhow!("\"{one}\" is not the number of a revision"))?;
            show::one(client, number, output).await
        }
        _ => anyhow::bail!("one revision at a time: `fleetway show N`"),
    }
}

fn no_names(args: &Get) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.names.is_empty(),
        "names go with a kind: `fleetway get KIND NAME`"
    );
    Ok(())
}

/// A table for each kind there is.
fn documents(items: &[Value], output: &mut Output) -> anyhow::Result<()> {
    let mut first = true;
    for kind in Kind::ALL {
        let of_kind: Vec<&Value> = items
            .iter()
            .filter(|item| text(item, "/kind") == kind.as_str())
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        if !first {
            output.line("")?;
        }
        first = false;
        let rows: Vec<Vec<Cell>> = of_kind
            .into_iter()
            .map(|item| {
                let [one, two] = columns(kind, item);
                vec![
                    Cell::new(format!("{}/{}", kind.plural(), text(item, "/name"))),
                    Cell::new(one),
                    Cell::new(two),
                    Cell::new(fleets(item)),
                    Cell::new(text(item, "/meta/version")),
                    Cell::new(text(item, "/meta/updated_at")),
                    Cell::new(text(item, "/meta/updated_by")),
                ]
            })
            .collect();
        let [one, two] = match kind {
            Kind::Secret => ["WHAT", "EXPIRES"],
            Kind::Component => ["BYTES", "STAGES"],
            Kind::Policy => ["COMPONENT", "BODY"],
            Kind::Listener => ["ADDRESS", "PROTOCOL"],
            Kind::Cluster | Kind::Endpoints => ["ENDPOINTS", "LABELS"],
            Kind::Route => ["MATCH", "ACTION"],
        };
        let headings = ["NAME", one, two, "FLEETS", "VERSION", "UPDATED", "BY"];
        table::print(output, &headings, &rows)?;
    }
    Ok(())
}

/// What is worth knowing of a kind at a glance.
fn columns(kind: Kind, item: &Value) -> [String; 2] {
    match kind {
        Kind::Secret => secret(item),
        Kind::Component => {
            let size = item.pointer("/facts/size").and_then(Value::as_u64);
            let stages = list(item, "/facts/stages").iter();
            let stages: Vec<&str> = stages.filter_map(Value::as_str).collect();
            [size.unwrap_or_default().to_string(), stages.join(",")]
        }
        Kind::Policy => {
            let digest = text(item, "/component");
            let body = item.get("body").and_then(Value::as_str);
            let short = digest.get(..12).unwrap_or_default();
            [short.to_owned(), body.unwrap_or("NONE").to_owned()]
        }
        Kind::Listener => {
            let protocol = item.get("http").map_or("", |_| "http");
            [text(item, "/address"), protocol.to_owned()]
        }
        Kind::Cluster | Kind::Endpoints => [endpoints(item), labels(item)],
        Kind::Route => [matching(item), action(item)],
    }
}

/// What it is, whom it is for, and until when the first of it to expire counts.
fn secret(item: &Value) -> [String; 2] {
    let (what, pem) = if item.get("certificate").is_some() {
        ("certificate", text(item, "/certificate/chain"))
    } else {
        ("ca", text(item, "/ca/certificates"))
    };
    let facts = CertificateFacts::read_all(&pem);
    let crls = CrlFacts::read_all(&text(item, "/ca/crls"));
    let names = facts.first().map_or_else(String::new, |first| {
        let names: Vec<&str> = first.dns_names.iter().map(|name| &**name).collect();
        if names.is_empty() {
            first.subject.to_string()
        } else {
            brief(&names)
        }
    });
    let certificates = facts
        .iter()
        .map(|one| (one.not_after, one.not_after_text()));
    let lists = crls.iter();
    let lists = lists.map(|one| (one.next_update, format!("{} (CRL)", one.next_update_text())));
    let first = certificates.chain(lists).min();
    let expires = first.map_or_else(String::new, |first| expiry(first, SystemTime::now()));
    let lists = match crls.len() {
        0 => String::new(),
        1 => " +1 CRL".to_owned(),
        more => format!(" +{more} CRLs"),
    };
    [format!("{what} {names}{lists}"), expires]
}

/// How soon what expires is pointed out.
const SOON: Duration = Duration::from_secs(30 * DAY);
const DAY: u64 = 24 * 3600;

/// Until when it counts, and whether that is over, or soon.
fn expiry((until, text): (SystemTime, String), now: SystemTime) -> String {
    match until.duration_since(now) {
        Err(_) => format!("{text} EXPIRED"),
        Ok(left) if left < SOON => format!("{text} in {}d", left.as_secs() / DAY),
        Ok(_) => text,
    }
}

fn endpoints(item: &Value) -> String {
    let addresses: Vec<&str> = list(item, "/endpoints")
        .iter()
        .filter_map(|endpoint| endpoint.get("address")?.as_str())
        .collect();
    brief(&addresses)
}

fn labels(item: &Value) -> String {
    let labels = item.pointer("/labels").and_then(Value::as_object);
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",")
}

fn fleets(item: &Value) -> String {
    let fleets: Vec<&str> = list(item, "/fleets")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if fleets.is_empty() {
        "all".to_owned()
    } else {
        brief(&fleets)
    }
}

/// `GET,POST api.example.com /users/* +2`: methods, host, path, and how many conditions more.
fn matching(item: &Value) -> String {
    let strings =
        |path| -> Vec<&str> { list(item, path).iter().filter_map(Value::as_str).collect() };
    let mut parts = Vec::new();
    let methods = strings("/match/methods");
    if !methods.is_empty() {
        parts.push(methods.join(","));
    }
    let hosts = strings("/match/hosts");
    if !hosts.is_empty() {
        parts.push(brief(&hosts));
    }
    let path = item.pointer("/match/path").and_then(Value::as_object);
    match path.into_iter().flatten().next() {
        Some((kind, value)) => {
            let value = value.as_str().unwrap_or_default();
            parts.push(match kind.as_str() {
                "prefix" => format!("{}/*", value.trim_end_matches('/')),
                "regex" => format!("~{value}"),
                _ => value.to_owned(),
            });
        }
        None => parts.push("/*".to_owned()),
    }
    let tags = item.pointer("/match/tags").and_then(Value::as_object);
    let more = list(item, "/match/headers").len()
        + list(item, "/match/query").len()
        + tags.map_or(0, serde_json::Map::len);
    if more > 0 {
        parts.push(format!("+{more}"));
    }
    parts.join(" ")
}

fn action(item: &Value) -> String {
    if item.get("respond").is_some() {
        let status = item.pointer("/respond/status").and_then(Value::as_u64);
        return format!("respond {}", status.unwrap_or_default());
    }
    if item.get("redirect").is_some() {
        let status = item.pointer("/redirect/status").and_then(Value::as_u64);
        return format!("redirect {}", status.unwrap_or(302));
    }
    let clusters: Vec<String> = list(item, "/forward/clusters")
        .iter()
        .map(|cluster| {
            let name = text(cluster, "/name");
            match cluster.get("weight").and_then(Value::as_u64) {
                Some(weight) => format!("{name}:{weight}"),
                None => name,
            }
        })
        .collect();
    let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
    format!("forward {}", brief(&clusters))
}

/// The first three, and how many more.
fn brief(all: &[&str]) -> String {
    let mut text = all.iter().take(3).copied().collect::<Vec<_>>().join(",");
    if all.len() > 3 {
        text.push_str(&format!(",+{}", all.len() - 3));
    }
    text
}

fn list<'a>(item: &'a Value, path: &str) -> &'a [Value] {
    item.pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text(item: &Value, path: &str) -> String {
    item.pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_or_does_soon_is_pointed_out() {
        let ca = include_str!("../../../../../testdata/certificates/ca.pem");
        let facts = CertificateFacts::read_all(ca).remove(0);
        let until = facts.not_after_text();
        let at = |days: u64| {
            expiry(
                (facts.not_after, until.clone()),
                facts.not_after - Duration::from_secs(days * DAY + 1),
            )
        };
        assert_eq!(at(31), until);
        assert_eq!(at(29), format!("{until} in 29d"));
        assert_eq!(at(0), format!("{until} in 0d"));
        let after = facts.not_after + Duration::from_secs(1);
        let past = (facts.not_after, until.clone());
        assert_eq!(expiry(past, after), format!("{until} EXPIRED"));
    }
}
