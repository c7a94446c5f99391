//! Secrets go to whom they concern, over what nobody else can read.

use super::*;
use crate::delta::testing::naming;

const S: Kind = Kind::Secret;

fn with_secrets() -> [&'static str; 6] {
    let [one, two, three, four, five] = EVERYTHING;
    [type_url::SECRET, one, two, three, four, five]
}

fn opened(snapshot: &Arc<Snapshot>, barrier: bool, exposure: Exposure) -> Session {
    let urls = with_secrets();
    let urls = if barrier { &urls[..] } else { &urls[..5] };
    let mut session = Session::new(7, snapshot.clone()).exposed(exposure);
    for (index, url) in urls.iter().enumerate() {
        let request = DeltaDiscoveryRequest {
            node: (index == 0).then(|| node(barrier)),
            ..request(url)
        };
        session.on_request(request, 0).unwrap();
    }
    session
}

#[test]
fn a_secret_comes_with_what_first_names_it_and_goes_with_what_last_does() {
    let state = next(&Arc::default(), &[put(S, "one", &[]), put(S, "two", &[])]);
    let mut session = opened(&state, true, Exposure::None);
    assert!(
        !settle(&mut session)
            .iter()
            .any(|sent| sent.contains("+one"))
    );
    let named = next(&state, &[naming("l", &[], &["one"])]);
    session.on_snapshot(named.clone(), 1);
    assert_eq!(settle(&mut session)[..2], ["Secret +one", "Listener +l"]);
    // Another fleet's listener makes nothing visible here.
    let others = next(&named, &[naming("o", &["other"], &["one", "two"])]);
    session.on_snapshot(others.clone(), 1);
    assert_eq!(settle(&mut session).len(), 1, "the barrier alone");
    let unnamed = next(&others, &[naming("l", &["other"], &["one"])]);
    session.on_snapshot(unnamed, 1);
    assert_eq!(settle(&mut session)[..2], ["Secret -one", "Listener -l"]);
}

#[test]
fn a_plain_client_loses_a_secret_only_after_what_named_it() {
    let state = next(
        &Arc::default(),
        &[
            put(S, "one", &[]),
            put(S, "two", &[]),
            naming("l", &[], &["one"]),
        ],
    );
    let mut session = opened(&state, false, Exposure::None);
    assert_eq!(settle(&mut session)[0], "Secret +one");
    session.on_snapshot(next(&state, &[naming("l", &[], &["two"])]), 1);
    assert_eq!(
        settle(&mut session),
        ["Secret +two", "Listener +l", "Secret -one"]
    );
}

#[test]
fn a_secret_that_is_asked_for_by_name_does_not_exist_for_those_it_does_not_concern() {
    let state = next(
        &Arc::default(),
        &[
            put(S, "unnamed", &[]),
            put(S, "elsewhere", &[]),
            put(S, "here", &[]),
            naming("o", &["other"], &["elsewhere"]),
            naming("l", &["a"], &["here"]),
        ],
    );
    let mut session = Session::new(7, state).exposed(Exposure::None);
    let asked = DeltaDiscoveryRequest {
        node: Some(node(false)),
        ..subscribe(type_url::SECRET, &["unnamed", "elsewhere", "here", "never"])
    };
    session.on_request(asked, 0).unwrap();
    assert_eq!(
        settle(&mut session),
        ["Secret +here -elsewhere -never -unnamed"]
    );
}

#[test]
fn where_others_can_read_or_claim_the_fleet_neither_a_secret_is_sent_nor_what_needs_it() {
    for (barrier, exposure, remedy) in [
        (true, Exposure::Cleartext, "connect over TLS"),
        (false, Exposure::Cleartext, "connect over TLS"),
        (true, Exposure::Unidentified, "--tls-client-ca"),
    ] {
        let state = next(&Arc::default(), &[put(C, "c", &[]), put(S, "s", &[])]);
        let mut session = opened(&state, barrier, exposure);
        settle(&mut session);
        assert_eq!(session.facts().live_revision, Some(1));
        let needed = next(&state, &[naming("l", &[], &["s"]), put(C, "c", &[])]);
        session.on_snapshot(needed.clone(), 1);
        answer(&mut session, [subscribe(type_url::CLUSTER, &["x"])]);
        assert!(!session.has_response());
        let facts = session.facts();
        assert!(facts.tally.withheld > 0);
        assert_eq!(facts.live_revision, Some(1));
        let refusal = facts.refusal.unwrap();
        assert_eq!(refusal.revision, 2);
        assert!(
            refusal.message.contains("secrets/s") && refusal.message.contains(remedy),
            "{refusal:?}"
        );

        session.on_snapshot(next(&needed, &[put(L, "l", &[])]), 2);
        let sent = settle(&mut session);
        assert!(sent.contains(&"Listener +l".to_owned()), "{sent:?}");
        assert!(
            !sent.iter().any(|sent| sent.starts_with("Secret")),
            "{sent:?}"
        );
        assert_eq!(session.facts().refusal, None);
        assert_eq!(session.facts().live_revision, Some(3));
    }
}
