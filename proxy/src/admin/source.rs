//! Where the configuration comes from and how that fares, as the admin page shows it.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::time;
use crate::{
    snapshot::Origin,
    xds::{Connection, Report},
};

/// The report as JSON: `origin` (`server`, `disk`, `folder` or `none`), the server or folder, the
/// age of what is served, the state of the connection, and the last error.
pub(super) fn describe(report: &Report) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    match report.served.as_ref().map(|served| &served.origin) {
        None | Some(Origin::Nowhere) => put("origin", json!("none")),
        Some(Origin::Disk) => put("origin", json!("disk")),
        Some(Origin::Server(server)) => {
            put("server", json!(**server));
            put("origin", json!("server"))
        }
        Some(Origin::Folder(folder)) => {
            put("folder", json!(**folder));
            put("origin", json!("folder"))
        }
    };
    if let Some(age) = report
        .served
        .as_ref()
        .and_then(|served| served.age(SystemTime::now()))
    {
        put("age_seconds", json!(age.as_secs()));
    }
    match &report.connection {
        Connection::None => {}
        Connection::Disconnected { since_ms } => {
            put("connected", json!(false));
            put("since", json!(time(*since_ms)));
        }
        Connection::Connected { server, since_ms } => {
            put("connected", json!(true));
            put("connected_to", json!(**server));
            put("since", json!(time(*since_ms)));
        }
    }
    if let Some(problem) = &report.last_error {
        put(
            "last_error",
            json!({"time": time(problem.at_ms), "message": problem.message}),
        );
    }
    Value::Object(fields)
}
