//! Random policies, components, and policies at their places.

use std::collections::BTreeMap;

use fleetway_api::proto::{Struct, Value, v1, value::Kind};
use proptest::{collection::vec, option, prelude::*};

use super::{duration, labels, name, text, texts};

fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i32>().prop_map(f64::from),
        proptest::num::f64::NORMAL,
        Just(9_007_199_254_740_992.0),
    ];
    let leaf = prop_oneof![
        Just(Kind::Null(0)),
        number.prop_map(Kind::Number),
        text().prop_map(Kind::Text),
        any::<bool>().prop_map(Kind::Bool),
    ];
    let leaf = leaf.prop_map(Value::from);
    leaf.prop_recursive(3, 12, 3, |inner| {
        let object = proptest::collection::btree_map(text(), inner.clone(), 0..3);
        let list = vec(inner, 0..3);
        prop_oneof![
            object.prop_map(|fields| Kind::Object(Struct { fields }).into()),
            list.prop_map(
                |values| Value::from(Kind::List(fleetway_api::proto::ListValue { values }))
            ),
        ]
    })
}

fn config() -> impl Strategy<Value = Struct> {
    proptest::collection::btree_map(text(), value(), 0..3).prop_map(|fields| Struct { fields })
}

/// A list of policies at their places.
pub(super) fn attachments() -> impl Strategy<Value = Vec<v1::PolicyAttachment>> {
    let one = (text(), 0..4, option::of(config())).prop_map(|(policy, stage, config)| {
        v1::PolicyAttachment {
            policy,
            stage,
            config,
        }
    });
    vec(one, 0..3)
}

/// Tags that a route asks for.
pub(super) fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    labels()
}

/// A component as documents show it: without its bytes, and without what a read adds.
pub(super) fn component() -> impl Strategy<Value = v1::Component> {
    (name(), texts(), labels()).prop_map(|(name, fleets, labels)| v1::Component {
        name,
        fleets,
        labels,
        ..v1::Component::default()
    })
}

pub(super) fn policy() -> impl Strategy<Value = v1::Policy> {
    let limits = (
        option::of(duration()),
        option::of(any::<u32>()),
        option::of(any::<u64>()),
    )
        .prop_map(|(timeout, memory, fuel)| v1::PolicyLimits {
            timeout,
            memory,
            fuel,
        });
    let failure = (option::of(any::<u32>()), option::of(text()))
        .prop_map(|(status, body)| v1::PolicyFailure { status, body });
    (
        name(),
        texts(),
        labels(),
        text(),
        option::of(config()),
        (0..4, option::of(any::<u32>())),
        option::of(limits),
        any::<bool>(),
        option::of(failure),
        option::of((texts(), option::of(duration()))),
    )
        .prop_map(
            |(
                name,
                fleets,
                labels,
                component,
                config,
                body,
                limits,
                fail_open,
                on_failure,
                http,
            )| {
                v1::Policy {
                    name,
                    fleets,
                    labels,
                    component,
                    config,
                    body: body.0,
                    max_body: body.1,
                    limits,
                    fail_open,
                    on_failure,
                    http: http.map(|(clusters, timeout)| v1::PolicyHttp { clusters, timeout }),
                }
            },
        )
}
