//! What is asked, when, and how faults are told.

use std::sync::{Arc, Mutex};

use fleetway_api::document::{self, Expected};
use serde_json::{Value, json};

use super::*;
use crate::{
    commit::{Committer, Condition, Operation, Transaction},
    delta::testing::{component_name, message},
    store::SledStore,
};

/// Takes no component that says `bad`, and no configuration with a number in `n`.
#[derive(Debug, Default)]
struct Strict {
    asked: Mutex<Vec<String>>,
}

impl Examine for Strict {
    fn component(&self, component: &Component) -> Result<v1::ComponentFacts, Vec<String>> {
        if component.wasm.ends_with(b"bad") {
            return Err(vec!["asks for `wasi:sockets`: build it without".to_owned()]);
        }
        Ok(v1::ComponentFacts {
            stages: vec!["PRE_ROUTE".to_owned()],
            ..v1::ComponentFacts::default()
        })
    }

    fn config(
        &self,
        _: &Component,
        _: &Name,
        limits: PolicyLimits,
        config: &str,
    ) -> Result<Vec<ConfigFault>, String> {
        if limits.memory < 2 << 20 {
            return Err("it wanted more memory".to_owned());
        }
        self.asked.lock().unwrap().push(config.to_owned());
        let value: Value = serde_json::from_str(config).unwrap();
        let faulty = value.get("n").is_some_and(Value::is_number);
        let fault = ConfigFault {
            pointer: "/n".to_owned(),
            message: "must be a string".to_owned(),
        };
        Ok(faulty.then_some(fault).into_iter().collect())
    }

    fn stage(&self, _: &Component, stage: Stage, streamed: bool) -> Result<(), String> {
        match (stage, streamed) {
            (Stage::PreRoute, false) => Ok(()),
            _ => Err(format!("is {}: give PRE_ROUTE", stage.as_str())),
        }
    }
}

struct Under {
    committer: Committer,
    examiner: Arc<Strict>,
    _dir: tempfile::TempDir,
}

impl Under {
    fn test() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path(), None).unwrap();
        let examiner = Arc::new(Strict::default());
        let committer = Committer::open(Arc::new(store), 0).unwrap();
        Self {
            committer: committer.examined_by(examiner.clone()),
            examiner,
            _dir: dir,
        }
    }

    fn put(&self, messages: Vec<v1::Resource>) -> Result<u64, String> {
        let operation = |message: v1::Resource| Operation {
            id: document::id_of(&message).unwrap(),
            put: Some(message),
            condition: Condition::None,
        };
        let made = self.committer.commit(Transaction {
            operations: messages.into_iter().map(operation).collect(),
            ..Transaction::default()
        });
        made.map(|made| made.response.revision)
            .map_err(|error| error.to_string())
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.examiner.asked.lock().unwrap())
    }
}

fn read(document: Value) -> v1::Resource {
    let read = document::read(document, Expected::default(), "test");
    read.unwrap().message
}

fn policy(config: &Value) -> v1::Resource {
    let component = component_name("one").to_string();
    read(json!({"kind": "Policy", "name": "p", "component": component, "config": config}))
}

fn route(name: &str, config: &Value) -> v1::Resource {
    let attached = json!([{"policy": "p", "stage": "PRE_ROUTE", "config": config}]);
    let matching = json!({"path": {"exact": format!("/{name}")}});
    read(
        json!({"kind": "Route", "name": name, "match": matching, "policies": attached, "respond": {"status": 204}}),
    )
}

#[test]
fn a_component_that_proxies_cannot_run_is_not_taken() {
    let under = Under::test();
    let refused = under.put(vec![message(Kind::Component, "bad", &[], 0)]);
    let name = component_name("bad");
    assert_eq!(
        refused.unwrap_err(),
        format!("components/{name}: wasm: asks for `wasi:sockets`: build it without")
    );
    under
        .put(vec![message(Kind::Component, "one", &[], 0)])
        .unwrap();
    // What was found out stays with it, whatever else of it changes.
    under
        .put(vec![message(Kind::Component, "one", &[], 1)])
        .unwrap();
    let snapshot = under.committer.snapshot();
    let id = Id::new(Kind::Component, component_name("one"));
    let stored = snapshot.get(&id).unwrap().data.encoded.decode().unwrap();
    let shown = document::write(&stored, None);
    assert_eq!(shown["facts"]["stages"], json!(["PRE_ROUTE"]));
    assert_eq!(shown["labels"]["salt"], "1");
}

#[test]
fn configurations_are_asked_about_where_they_stand_and_each_once() {
    let under = Under::test();
    let one = message(Kind::Component, "one", &[], 0);
    under
        .put(vec![
            one,
            policy(&json!({"n": "1"})),
            route("a", &json!({})),
            route("b", &json!({"m": 1})),
        ])
        .unwrap();
    let mut asked = under.asked();
    asked.sort();
    assert_eq!(asked, [r#"{"m":1,"n":"1"}"#, r#"{"n":"1"}"#]);

    // A change of the policy is one of what its routes lay over it.
    let refused = under.put(vec![policy(&json!({"n": 1}))]).unwrap_err();
    assert_eq!(
        refused.lines().collect::<Vec<_>>(),
        [
            "policies/p: config/n: must be a string",
            "routes/a: policies[0].config/n: must be a string",
            "routes/b: policies[0].config/n: must be a string",
        ]
    );
    let refused = under.put(vec![route("c", &json!({"n": 2}))]).unwrap_err();
    assert_eq!(refused, "routes/c: policies[0].config/n: must be a string");
    assert_eq!(under.committer.snapshot().revision(), 1);

    // What is as it was is not asked about again.
    under.asked();
    let labelled = |mut message: v1::Resource| {
        if let Some(v1::resource::Kind::Policy(policy)) = &mut message.kind {
            policy.labels.insert("a".to_owned(), "b".to_owned());
        }
        message
    };
    under
        .put(vec![labelled(policy(&json!({"n": "1"})))])
        .unwrap();
    assert!(under.asked().is_empty());
}

#[test]
fn a_policy_has_to_fit_where_it_is_attached() {
    let under = Under::test();
    let one = message(Kind::Component, "one", &[], 0);
    under
        .put(vec![
            one,
            policy(&json!({"n": "1"})),
            route("a", &json!({})),
        ])
        .unwrap();
    let late = |mut message: v1::Resource| {
        if let Some(v1::resource::Kind::Route(route)) = &mut message.kind {
            route.policies[0].stage = v1::policy_attachment::Stage::PostResponse.into();
        }
        message
    };
    let refused = under.put(vec![late(route("b", &json!({})))]).unwrap_err();
    assert_eq!(
        refused,
        "routes/b: policies[0].stage: is POST_RESPONSE: give PRE_ROUTE"
    );
    let changed = |change: fn(&mut v1::Policy)| {
        let mut message = policy(&json!({"n": "1"}));
        if let Some(v1::resource::Kind::Policy(policy)) = &mut message.kind {
            change(policy);
        }
        under.put(vec![message]).unwrap_err()
    };
    // A change of the policy is asked about where it is attached.
    let refused = changed(|policy| policy.set_body(v1::policy::BodyMode::Streamed));
    assert_eq!(
        refused,
        "routes/a: policies[0].stage: is PRE_ROUTE: give PRE_ROUTE"
    );
    let refused = changed(|policy| policy.limits.get_or_insert_default().memory = Some(1 << 20));
    assert_eq!(
        refused.lines().collect::<Vec<_>>(),
        [
            "policies/p: limits: the component does not run: it wanted more memory",
            "routes/a: policies[0].policy: the component does not run: it wanted more memory",
        ]
    );
}
