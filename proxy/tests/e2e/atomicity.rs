//! No request sees half of a revision.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use crate::support::{Proxy, Server, Upstream, documents};

const TRANSACTIONS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_a_thousand_moves_of_a_route_show_only_the_two_legal_answers() {
    let (one, two) = (Upstream::named("one").await, Upstream::named("two").await);
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let first = [
        documents::listener("web"),
        documents::cluster("c0", one.address),
        documents::forward("moving", "/", "c0"),
    ];
    rest.commit_live(&first, 1).await;
    let url = format!("http://{}/", proxy.listener("web").await);

    let done = Arc::new(AtomicBool::new(false));
    let served = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (url, done, served) = (url.clone(), done.clone(), served.clone());
            tokio::spawn(async move {
                let http = reqwest::Client::new();
                while !done.load(Relaxed) {
                    let answer = http
                        .get(&url)
                        .send()
                        .await
                        .expect("every request is answered");
                    let status = answer.status();
                    let text = answer.text().await.expect("every answer is whole");
                    match (status.as_u16(), text.as_str()) {
                        (200, "one") => served[0].fetch_add(1, Relaxed),
                        (200, "two") => served[1].fetch_add(1, Relaxed),
                        other => panic!("not a legal answer: {other:?}"),
                    };
                }
            })
        })
        .collect();

    let mut last = 0;
    for turn in 0..TRANSACTIONS {
        let endpoint = if turn % 2 == 0 {
            two.address
        } else {
            one.address
        };
        let (old, new) = (format!("c{turn}"), format!("c{}", turn + 1));
        let puts = [
            documents::cluster(&new, endpoint),
            documents::forward("moving", "/", &new),
        ];
        last = rest.commit(&puts, &[("Cluster", &old)]).await;
    }
    rest.live(last, 1).await;
    done.store(true, Relaxed);
    for task in load {
        task.await.expect("no illegal answer");
    }
    let served = [served[0].load(Relaxed), served[1].load(Relaxed)];
    assert!(
        served[0] > 0 && served[1] > 0,
        "both clusters served: {served:?}"
    );
    assert_eq!(proxy.revision().await, last);
}
