use fleetway_policy_runtime::Decision;
use http::Request;
use serde_json::json;

use crate::support::{probe, subject, unit};

#[tokio::test]
async fn a_policy_sees_a_request_and_changes_it() {
    let config = json!({"pre_route": [
        {"set_header": {"name": "x-a", "value": "1"}},
        {"report": {"to": "header"}},
    ]});
    let unit = unit(probe(), "probe", &config);
    let request = Request::get("http://example.com/a?b=c").header("x-b", "2");
    let mut call = unit
        .start(subject(request))
        .await
        .map_err(|(_, failure)| failure)
        .unwrap();
    assert_eq!(call.pre_route().await, Ok(Decision::Continue));
    let subject = call.into_subject();
    assert_eq!(subject.request.headers.get("x-a").unwrap(), "1");
    println!("{:#?}", subject.request.headers);
    let start = std::time::Instant::now();
    let mut subject = subject;
    for _ in 0..1000 {
        subject.request.headers.clear();
        let mut call = unit
            .start(subject)
            .await
            .map_err(|(_, failure)| failure)
            .unwrap();
        call.pre_route().await.unwrap();
        subject = call.into_subject();
    }
    println!("{:?}", start.elapsed() / 1000);
}
