//! Opening a connection to an endpoint.

use std::{io, net::SocketAddr};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::UpstreamError;
use crate::{
    cluster::Cluster,
    proxy_protocol::{Addresses, encode},
};

/// Connects within the cluster's time. Where the cluster is to be told, the connection begins with
/// which client it is for.
///
/// # Errors
/// When it takes too long or is refused.
pub async fn connect(
    cluster: &Cluster,
    endpoint: SocketAddr,
    client: impl FnOnce() -> Addresses,
) -> Result<TcpStream, UpstreamError> {
    let header = cluster
        .proxy_protocol
        .map(|version| encode(version, &client()));
    let connecting = async {
        let mut stream = TcpStream::connect(endpoint).await?;
        stream.set_nodelay(true)?;
        if let Some(header) = header {
            stream.write_all(header.as_bytes()).await?;
        }
        io::Result::Ok(stream)
    };
    tokio::time::timeout(cluster.connect_timeout, connecting)
        .await
        .map_err(|_| UpstreamError::ConnectTimeout(endpoint))?
        .map_err(|error| UpstreamError::Connect(endpoint, error))
}
