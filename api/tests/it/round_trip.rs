//! Message → document → text → document → message is the identity, for every field of every kind.

use fleetway_api::{
    document::{self, Expected, Format},
    proto::v1,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::messages::message;

fn read_again(document: &Value, format: Format) -> Result<v1::Resource, TestCaseError> {
    let text = document::to_text(std::slice::from_ref(document), format);
    let mut documents = document::parse(&text, format)
        .map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
    prop_assert_eq!(documents.len(), 1, "{}", text);
    let again = documents.remove(0);
    prop_assert_eq!(&again, document, "{}", text);
    let read = document::read(again, Expected::default(), "test")
        .map_err(|errors| TestCaseError::fail(format!("{errors:?}\n{text}")))?;
    Ok(read.message)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_message_is_the_same_after_json_and_after_yaml(message in message()) {
        let document = document::write(&message, None);
        for format in [Format::Json, Format::Yaml] {
            let again = read_again(&document, format)?;
            prop_assert_eq!(&again, &message);
            // And the text is the same again: what is applied twice shows no difference.
            prop_assert_eq!(document::write(&again, None), document.clone());
        }
    }

    #[test]
    fn a_stream_of_documents_keeps_their_number_and_order(
        messages in proptest::collection::vec(message(), 2..5),
    ) {
        let documents: Vec<Value> = messages
            .iter()
            .map(|message| document::write(message, None))
            .collect();
        for format in [Format::Json, Format::Yaml] {
            let text = document::to_text(&documents, format);
            let again = document::parse(&text, format)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(&again, &documents, "{}", text);
        }
    }

    #[test]
    fn a_meta_is_read_back_as_the_version_it_names(message in message(), version in any::<u64>()) {
        let meta = v1::Meta {
            version: version.to_string(),
            revision: u64::MAX,
            created_at: "2026-01-01T00:00:00Z".into(),
            updated_at: "2026-01-02T00:00:00Z".into(),
            updated_by: "someone".into(),
        };
        let document = document::write(&message, Some(&meta));
        let read = document::read(document, Expected::default(), "test").unwrap();
        prop_assert_eq!(read.if_version, Some(version));
        prop_assert_eq!(read.message, message);
    }

    #[test]
    fn validation_of_any_message_ends_with_a_verdict_and_named_fields(message in message()) {
        if let Err(errors) = fleetway_api::Resource::read(message) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(!error.resource.is_empty() && !error.message.is_empty(), "{error:?}");
            }
        }
    }
}
