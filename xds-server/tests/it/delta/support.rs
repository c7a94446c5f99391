//! A server on a free port, and a client as a third party would write it.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    google::rpc::Status,
};
use fleetway_api::{
    Id, Kind, Name,
    proto::{type_url, v1},
};
use fleetway_xds::{
    commit::{Committer, Condition, Operation, Transaction},
    delta::{BARRIER_FEATURE, Options, serve},
    fleet::Fleet,
    store::SledStore,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;

/// Long enough for a loaded machine; what does not happen by then does not happen.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("does not happen")
}

pub(crate) struct Server {
    pub(crate) committer: Committer,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<()>,
    _stop: DropGuard,
    _data: TempDir,
}

pub(crate) fn cluster(name: &str) -> v1::Resource {
    let cluster = v1::Cluster {
        name: name.to_owned(),
        ..v1::Cluster::default()
    };
    v1::Resource {
        kind: Some(v1::resource::Kind::Cluster(cluster)),
    }
}

pub(crate) fn endpoints(name: &str) -> v1::Resource {
    let endpoints = v1::Endpoints {
        name: name.to_owned(),
        ..v1::Endpoints::default()
    };
    v1::Resource {
        kind: Some(v1::resource::Kind::Endpoints(endpoints)),
    }
}

pub(crate) fn listener(name: &str, port: u16) -> v1::Resource {
    let listener = v1::Listener {
        name: name.to_owned(),
        address: format!("127.0.0.1:{port}"),
        protocol: Some(v1::listener::Protocol::Http(v1::HttpListener::default())),
        ..v1::Listener::default()
    };
    v1::Resource {
        kind: Some(v1::resource::Kind::Listener(listener)),
    }
}

/// A route that answers with `body` to the host of its name.
pub(crate) fn route(name: &str, body: &str) -> v1::Resource {
    let route = v1::Route {
        name: name.to_owned(),
        r#match: Some(v1::RouteMatch {
            hosts: vec![format!("{name}.example.com")],
            ..v1::RouteMatch::default()
        }),
        action: Some(v1::route::Action::Respond(v1::DirectResponse {
            status: 200,
            body: body.to_owned(),
            ..v1::DirectResponse::default()
        })),
        ..v1::Route::default()
    };
    v1::Resource {
        kind: Some(v1::resource::Kind::Route(route)),
    }
}

/// A route that forwards to `cluster`.
pub(crate) fn forward(name: &str, cluster: &str) -> v1::Resource {
    let mut resource = route(name, "");
    if let Some(v1::resource::Kind::Route(route)) = &mut resource.kind {
        route.action = Some(v1::route::Action::Forward(v1::Forward {
            clusters: vec![v1::WeightedCluster {
                name: cluster.to_owned(),
                weight: None,
            }],
            ..v1::Forward::default()
        }));
    }
    resource
}

fn id(resource: &v1::Resource) -> Id {
    let (kind, name) = match resource.kind.as_ref().unwrap() {
        v1::resource::Kind::Cluster(cluster) => (Kind::Cluster, &cluster.name),
        v1::resource::Kind::Endpoints(endpoints) => (Kind::Endpoints, &endpoints.name),
        v1::resource::Kind::Secret(secret) => (Kind::Secret, &secret.name),
        v1::resource::Kind::Component(component) => (Kind::Component, &component.name),
        v1::resource::Kind::Policy(policy) => (Kind::Policy, &policy.name),
        v1::resource::Kind::Listener(listener) => (Kind::Listener, &listener.name),
        v1::resource::Kind::Route(route) => (Kind::Route, &route.name),
    };
    Id::new(kind, Name::new(name).unwrap())
}

impl Server {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = SledStore::open(&data.path().join("data"), None).unwrap();
        // One revision is all the log keeps: what is sent does not depend on it.
        let committer = Committer::open(Arc::new(store), 1).unwrap();
        let fleet = Arc::new(Fleet::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let snapshots = committer.subscribe();
        let (of_server, stop) = (fleet.clone(), shutdown.clone());
        let served = tokio::spawn(async move {
            let stopped = stop.cancelled_owned();
            serve(
                listener,
                snapshots,
                of_server,
                Options::default(),
                None,
                stopped,
            )
            .await
            .unwrap();
        });
        Self {
            committer,
            fleet,
            address,
            _stop: shutdown.clone().drop_guard(),
            shutdown,
            served,
            _data: data,
        }
    }

    /// Commits all of it as one revision and gives its number.
    pub(crate) fn commit(&self, puts: Vec<v1::Resource>, deletes: &[(Kind, &str)]) -> u64 {
        let puts = puts
            .into_iter()
            .map(|resource| (id(&resource), Some(resource)));
        let deletes = deletes
            .iter()
            .map(|(kind, name)| (Id::new(*kind, Name::new(name).unwrap()), None));
        let operations = puts
            .chain(deletes)
            .map(|(id, put)| Operation {
                id,
                put,
                condition: Condition::None,
            })
            .collect();
        let transaction = Transaction {
            operations,
            ..Transaction::default()
        };
        self.committer
            .commit(transaction)
            .unwrap()
            .response
            .revision
    }

    /// Waits until the fleet is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&Fleet) -> bool) {
        let mut changed = self.fleet.changed();
        within(async {
            while !wanted(&self.fleet) {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }
}

pub(crate) const KINDS: [&str; 4] = [
    type_url::CLUSTER,
    type_url::ENDPOINTS,
    type_url::LISTENER,
    type_url::ROUTE,
];

pub(crate) fn request(url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

pub(crate) struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub(crate) responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    /// A stream on which nothing was said yet.
    pub(crate) async fn open(server: &Server) -> Self {
        Self::open_at(server.address).await
    }

    async fn open_at(address: SocketAddr) -> Self {
        let url = format!("http://{address}");
        let client = AggregatedDiscoveryServiceClient::connect(url).await;
        let (requests, inbound) = mpsc::channel(64);
        let responses = client
            .unwrap()
            .max_decoding_message_size(64 << 20)
            .delta_aggregated_resources(ReceiverStream::new(inbound))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
        }
    }

    /// A stream that asks for everything, with the barrier or without.
    pub(crate) async fn start(server: &Server, id: &str, barrier: bool) -> Self {
        Self::start_at(server.address, id, barrier).await
    }

    /// The same, by the address of the streams.
    pub(crate) async fn start_at(address: SocketAddr, id: &str, barrier: bool) -> Self {
        let mut requests: Vec<_> = KINDS.into_iter().map(request).collect();
        requests[0].node = Some(node(id, barrier));
        if barrier {
            requests.push(request(type_url::REVISION));
        }
        let client = Self::open_at(address).await;
        for request in requests {
            client.send(request).await;
        }
        client
    }

    pub(crate) async fn send(&self, request: DeltaDiscoveryRequest) {
        within(self.requests.send(request)).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> DeltaDiscoveryResponse {
        within(self.responses.message())
            .await
            .unwrap()
            .expect("the stream is open")
    }

    /// Everything up to the barrier.
    pub(crate) async fn push(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let mut responses = Vec::new();
        loop {
            responses.push(self.next().await);
            if responses.last().unwrap().type_url == type_url::REVISION {
                return responses;
            }
        }
    }

    pub(crate) async fn ack(&self, responses: &[DeltaDiscoveryResponse]) {
        for response in responses {
            self.send(DeltaDiscoveryRequest {
                response_nonce: response.nonce.clone(),
                ..request(&response.type_url)
            })
            .await;
        }
    }

    pub(crate) async fn nack(&self, responses: &[DeltaDiscoveryResponse], message: &str) {
        for response in responses {
            self.send(DeltaDiscoveryRequest {
                response_nonce: response.nonce.clone(),
                error_detail: Some(Status {
                    code: 3,
                    message: message.to_owned(),
                    ..Status::default()
                }),
                ..request(&response.type_url)
            })
            .await;
        }
    }

    /// Takes a push and accepts it.
    pub(crate) async fn accept(&mut self) -> Vec<String> {
        let push = self.push().await;
        self.ack(&push).await;
        push.iter().map(short).collect()
    }
}

pub(crate) fn node(id: &str, barrier: bool) -> Node {
    let feature = barrier.then(|| BARRIER_FEATURE.to_owned());
    Node {
        id: id.to_owned(),
        cluster: "edge".to_owned(),
        client_features: feature.into_iter().collect(),
        ..Node::default()
    }
}

/// A response in short: `Route@3 +a +b -c`.
pub(crate) fn short(response: &DeltaDiscoveryResponse) -> String {
    let url = response.type_url.rsplit('.').next().unwrap();
    let mut text = format!("{url}@{}", response.system_version_info);
    for resource in &response.resources {
        text += &format!(" +{}", resource.name);
    }
    for name in &response.removed_resources {
        text += &format!(" -{name}");
    }
    text
}
