//! Opening a connection to an endpoint.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::UpstreamError;
use crate::cluster::Cluster;

/// Connects within the cluster's time.
///
/// # Errors
/// When it takes too long or is refused.
pub async fn connect(cluster: &Cluster, endpoint: SocketAddr) -> Result<TcpStream, UpstreamError> {
    let connecting = tokio::time::timeout(cluster.connect_timeout, TcpStream::connect(endpoint));
    let stream = connecting
        .await
        .map_err(|_| UpstreamError::ConnectTimeout(endpoint))?
        .map_err(|error| UpstreamError::Connect(endpoint, error))?;
    stream
        .set_nodelay(true)
        .map_err(|error| UpstreamError::Connect(endpoint, error))?;
    Ok(stream)
}
