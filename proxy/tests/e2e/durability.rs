//! What was acknowledged survives `kill -9`; nothing is half there.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::json;

use crate::support::{PATIENCE, Server, documents};

const KILLS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_twenty_kills_and_no_revision_is_half_there() {
    let mut server = Server::start().await;
    let mut acknowledged = 0;
    for round in 0..KILLS {
        // Writes pairs until the server is gone; tells of the last one acknowledged.
        let rest = server.client();
        let told = Arc::new(AtomicU64::new(acknowledged));
        let progress = told.clone();
        let writer = tokio::spawn(async move {
            let mut next = progress.load(Relaxed) + 1;
            loop {
                let pair = [
                    documents::respond("left", "/left", &next.to_string()),
                    documents::respond("right", "/right", &next.to_string()),
                    documents::respond(&format!("w{next}"), &format!("/w{next}"), "kept"),
                ];
                match rest.try_transaction(&pair, &[]).await {
                    Ok((200, _)) => progress.store(next, Relaxed),
                    Ok((status, answer)) => panic!("refused with {status}: {answer}"),
                    Err(_) => return,
                }
                next += 1;
            }
        });
        // Each round is killed at another point of its work.
        let wanted = acknowledged + 1 + round % 4;
        crate::support::eventually("writes", async || {
            (told.load(Relaxed) >= wanted).then_some(())
        })
        .await;
        server.restart().await;
        tokio::time::timeout(PATIENCE, writer)
            .await
            .expect("it ends")
            .expect("no refusal");
        acknowledged = told.load(Relaxed);

        let rest = server.client();
        let left = rest.get("/v1/routes/left").await;
        let right = rest.get("/v1/routes/right").await;
        assert_eq!(
            left["respond"]["body"], right["respond"]["body"],
            "a revision is whole"
        );
        assert_eq!(left["meta"]["version"], right["meta"]["version"]);
        let found: u64 = left["respond"]["body"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a number");
        // The last write may have been stored without its answer getting out.
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{found} {acknowledged}"
        );
        for write in 1..=acknowledged {
            let kept = rest.get(&format!("/v1/routes/w{write}")).await;
            assert_eq!(
                kept["respond"]["body"],
                json!("kept"),
                "write {write} is there"
            );
        }
        let revisions = rest.get("/v1/revisions?page_size=1").await;
        assert_eq!(
            revisions["items"][0]["revision"],
            json!(found),
            "the log is as long"
        );
        acknowledged = found;
    }
}
