//! What the ABI promises, asked of policies in each language.
//!
//! A probe does what its configuration says and reports what it sees; `conformance/probe` of the
//! samples tells how, and there is one in each language. A check asks one thing of a probe, whichever
//! it is. What only a proxy does (matching anew after a hint, the order of policies of listeners and
//! routes) is in the proxy's own tests.

mod bodies;
mod configuration;
mod context;
mod decisions;
mod lent;
mod mutations;
mod order;
mod released;
mod sending;
pub mod stage;

use std::sync::Arc;

use fleetway_policy_runtime::{Program, Stage, Unit};
use serde_json::{Value, json};

use crate::support::{self, PATIENT, program, unit_with};
use stage::{Became, Given, run};

/// A component that does what its configuration says and reports what it sees.
pub struct Probe(Arc<Program>);

impl Probe {
    /// This one is never left out.
    async fn rust() -> Option<Self> {
        Some(Self(support::probe()))
    }

    async fn python() -> Option<Self> {
        program("languages/probe-python").await.map(Self)
    }

    async fn javascript() -> Option<Self> {
        program("languages/probe-javascript").await.map(Self)
    }

    /// A policy called `name`.
    fn unit(&self, name: &str, config: &Value) -> Arc<Unit> {
        unit_with(self.0.clone(), name, config, PATIENT)
    }

    /// Does these actions at a stage. Gives what has become of what it was given.
    async fn does(&self, stage: Stage, actions: Value, given: Given) -> Became {
        let config = json!({key(stage): actions});
        run(&self.unit("probe", &config), stage, given).await
    }

    /// The same, with a report at the end, which takes the place of the decision.
    async fn reports(&self, stage: Stage, mut actions: Value, given: Given) -> (Value, Became) {
        let list = actions.as_array_mut().expect("a list");
        list.push(json!({"report": {"to": "answer"}}));
        let became = self.does(stage, actions, given).await;
        (became.report(), became)
    }
}

/// Where a probe's configuration has the actions of a stage.
fn key(stage: Stage) -> String {
    stage.as_str().replace('-', "_")
}

/// Where a probe's configuration has the actions of a stage's body.
fn body_key(stage: Stage) -> &'static str {
    match stage {
        Stage::PostResponse => "response_body",
        _ => "request_body",
    }
}

/// Tests of a probe in one language, where it is built.
macro_rules! tests_of {
    ($language:ident: $($file:ident::$check:ident),+) => {
        mod $language {
            use crate::conformance::{self, Probe};
            $(
                #[tokio::test]
                async fn $check() {
                    if let Some(probe) = Probe::$language().await {
                        conformance::$file::$check(&probe).await;
                    }
                }
            )+
        }
    };
}

/// What a version of the ABI has brought: a test of each check and language, and `all` of the checks
/// for a probe that was built for that version.
macro_rules! brought_by {
    ($version:ident: $($file:ident::$check:ident),+ $(,)?) => {
        mod $version {
            tests_of!(rust: $($file::$check),+);
            tests_of!(python: $($file::$check),+);
            tests_of!(javascript: $($file::$check),+);

            pub async fn all(probe: &super::Probe) {
                $(
                    println!("{}", stringify!($check));
                    super::$file::$check(probe).await;
                )+
            }
        }
    };
}

// What a later version brings is a list of its own: a probe of this one does not know of it.
brought_by!(abi_1_0_0:
    context::each_field_of_a_request_arrives,
    context::what_a_request_does_not_have_is_none,
    context::each_protocol_has_its_name,
    context::each_field_of_an_upstream_arrives,
    context::each_field_of_a_response_arrives,
    context::an_answer_of_the_proxy_was_not_exchanged,
    context::a_policy_knows_its_name,
    mutations::fields_are_changed_wherever_there_are_some,
    mutations::what_is_not_a_policys_to_set_is_refused,
    mutations::a_request_that_was_sent_is_read_only,
    mutations::method_and_target_are_changed,
    mutations::a_status_is_changed,
    mutations::an_upstream_is_changed,
    mutations::a_request_is_sent_again,
    decisions::an_answer_is_given_at_each_stage,
    decisions::an_answer_out_of_bounds_is_none,
    decisions::nothing_is_done_behind_an_answer,
    decisions::a_hint_is_given_before_the_upstream,
    decisions::what_fails_ends_the_call,
    order::the_second_sees_what_the_first_has_changed,
    order::notes_are_their_policys_own_and_read_by_all,
    order::each_stage_has_an_instance_of_its_own,
    order::shared_values_are_the_policys,
    bodies::there_is_none_before_a_route_is_chosen,
    bodies::a_buffered_body_arrives,
    bodies::a_buffered_body_is_replaced_within_its_bound,
    bodies::there_is_nothing_to_act_on_without_a_buffer,
    bodies::a_body_is_changed_as_it_passes,
    bodies::a_streamed_body_has_no_bound,
    bodies::what_is_not_read_is_dropped,
    bodies::a_transform_is_the_same_call,
    bodies::trailers_pass_and_are_changed,
    bodies::a_transform_that_fails_cuts_the_body,
    bodies::what_a_transform_writes_down_is_kept,
    bodies::what_others_note_is_seen_while_a_body_passes,
    sending::each_field_of_a_request_of_its_own_arrives,
    sending::what_a_request_of_its_own_leaves_out_is_filled_in,
    sending::a_request_of_its_own_waits_no_longer_than_is_granted,
    sending::why_there_is_no_response_is_told,
    sending::clusters_that_are_not_granted_are_forbidden,
    sending::what_is_no_request_is_not_sent,
    sending::a_ninth_request_of_its_own_ends_the_call,
    sending::requests_are_sent_while_a_body_passes,
    lent::randomness_is_not_the_same_again,
    lent::clocks_tell_the_time,
    lent::figures_are_counted,
    lent::the_log_takes_each_level,
    lent::the_access_log_is_added_to,
    configuration::what_is_wrong_is_pointed_at,
    configuration::a_configuration_arrives_as_it_is,
);
