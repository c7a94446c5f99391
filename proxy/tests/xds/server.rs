//! A discovery server without a will of its own.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use envoy_types::pb::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        Resource,
        aggregated_discovery_service_server::{
            AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
        },
    },
    google::{protobuf::Any, rpc},
};
use fleetway_api::{
    Kind,
    proto::{type_url, v1},
};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// When every revision of this server was committed, in milliseconds since 1970.
pub(crate) const COMMITTED_MS: i64 = 1_700_000_000_000;

type Responses = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

struct Service(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = Responses;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (responses, stream) = mpsc::channel(4);
        let stream_of_test = Stream {
            requests: request.into_inner(),
            responses,
        };
        self.0.send(stream_of_test).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

pub(crate) struct Server {
    pub(crate) address: String,
    streams: mpsc::Receiver<Stream>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, streams) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let service = AggregatedDiscoveryServiceServer::new(Service(sender));
            let serve = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            stopped.run_until_cancelled(serve).await;
        });
        Self {
            address,
            streams,
            stop,
            task,
        }
    }

    /// The next stream of a proxy.
    pub(crate) async fn accept(&mut self) -> Stream {
        self.streams.recv().await.unwrap()
    }

    /// Goes away: nothing listens on the address any more.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

/// An address that is taken, so that nobody else gets it, and where nothing listens.
pub(crate) fn dead_address() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (format!("http://{}", socket.local_addr().unwrap()), socket)
}

/// A stream as the server sees it. Dropped, it is closed.
pub(crate) struct Stream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

impl Stream {
    pub(crate) async fn send(&mut self, response: DeltaDiscoveryResponse) {
        self.responses.send(Ok(response)).await.unwrap();
    }

    pub(crate) async fn fail(self, message: &str) {
        let status = Status::unavailable(message);
        self.responses.send(Err(status)).await.unwrap();
    }

    async fn request(&mut self) -> DeltaDiscoveryRequest {
        self.requests.message().await.unwrap().expect("a request")
    }

    /// Reads the subscriptions a stream begins with: for each type, `name=version`, sorted.
    pub(crate) async fn subscriptions(&mut self) -> BTreeMap<String, Vec<String>> {
        let types = [
            type_url::SECRET,
            type_url::COMPONENT,
            type_url::POLICY,
            type_url::CLUSTER,
            type_url::ENDPOINTS,
            type_url::LISTENER,
            type_url::ROUTE,
            type_url::REVISION,
        ];
        let mut versions = BTreeMap::new();
        for (index, expected) in types.into_iter().enumerate() {
            let request = self.request().await;
            assert_eq!(request.type_url, expected);
            assert_eq!(request.resource_names_subscribe, ["*"]);
            assert_eq!(request.node.is_some(), index == 0);
            let of = request.initial_resource_versions.iter();
            let mut of: Vec<_> = of
                .map(|(name, version)| format!("{name}={version}"))
                .collect();
            of.sort();
            versions.insert(request.type_url, of);
        }
        versions
    }

    /// Whether no request is there now. To be asked only where one would have come before.
    pub(crate) fn has_said_nothing(&mut self) -> bool {
        use std::task::{Context, Poll, Waker};
        let mut context = Context::from_waker(Waker::noop());
        let mut message = std::pin::pin!(self.requests.message());
        matches!(message.as_mut().poll(&mut context), Poll::Pending)
    }

    pub(crate) async fn ack(&mut self, type_url: &str) {
        let request = self.request().await;
        assert_eq!(request.type_url, type_url);
        assert_eq!(request.error_detail, None);
        assert!(!request.response_nonce.is_empty());
    }

    pub(crate) async fn nack(&mut self, type_url: &str) -> rpc::Status {
        let request = self.request().await;
        assert_eq!(request.type_url, type_url);
        request.error_detail.expect("a NACK")
    }
}

fn nonce() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

pub(crate) fn response(
    kind: Kind,
    revision: u64,
    resources: Vec<Resource>,
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: revision.to_string(),
        type_url: kind.type_url().into(),
        nonce: nonce(),
        resources,
        ..DeltaDiscoveryResponse::default()
    }
}

pub(crate) fn barrier(revision: u64) -> DeltaDiscoveryResponse {
    let message = v1::Revision {
        number: revision,
        time_ms: COMMITTED_MS,
        ..v1::Revision::default()
    };
    DeltaDiscoveryResponse {
        system_version_info: revision.to_string(),
        type_url: type_url::REVISION.into(),
        nonce: nonce(),
        resources: vec![resource(
            type_url::REVISION,
            &revision.to_string(),
            "revision",
            &message,
        )],
        ..DeltaDiscoveryResponse::default()
    }
}

fn resource(type_url: &str, version: &str, name: &str, message: &impl Message) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(Any {
            type_url: type_url.into(),
            value: message.encode_to_vec(),
        }),
        ..Resource::default()
    }
}

pub(crate) fn cluster(version: &str, name: &str) -> Resource {
    let message = v1::Cluster {
        name: name.into(),
        endpoints: vec![v1::Endpoint {
            address: "127.0.0.1:1".into(),
            ..v1::Endpoint::default()
        }],
        ..v1::Cluster::default()
    };
    resource(type_url::CLUSTER, version, name, &message)
}

pub(crate) fn listener(version: &str, name: &str) -> Resource {
    let message = v1::Listener {
        name: name.into(),
        address: "127.0.0.1:80".into(),
        protocol: Some(v1::listener::Protocol::Http(v1::HttpListener::default())),
        ..v1::Listener::default()
    };
    resource(type_url::LISTENER, version, name, &message)
}

pub(crate) fn route(version: &str, name: &str, cluster: &str) -> Resource {
    let message = v1::Route {
        name: name.into(),
        r#match: Some(v1::RouteMatch {
            path: Some(v1::PathMatch {
                kind: Some(v1::path_match::Kind::Prefix(format!("/{name}"))),
            }),
            ..v1::RouteMatch::default()
        }),
        action: Some(v1::route::Action::Forward(v1::Forward {
            clusters: vec![v1::WeightedCluster {
                name: cluster.into(),
                ..v1::WeightedCluster::default()
            }],
            ..v1::Forward::default()
        })),
        ..v1::Route::default()
    };
    resource(type_url::ROUTE, version, name, &message)
}
