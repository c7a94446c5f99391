//! TLS to the management servers: whose certificates are believed, and what this proxy shows.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The files TLS to the servers needs. They are read anew for each connection, so that what is
/// renewed is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The authorities, in PEM, one of which issued the servers' certificates.
    pub authorities: PathBuf,
    /// This proxy's certificate chain and its key, in PEM, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {file}: {error}")]
pub struct Unreadable {
    file: String,
    error: std::io::Error,
}

impl Trust {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn read(&self) -> Result<ClientTlsConfig, Unreadable> {
        let authorities = Certificate::from_pem(read(&self.authorities).await?);
        let config = ClientTlsConfig::new().ca_certificate(authorities);
        let Some((chain, key)) = &self.identity else {
            return Ok(config);
        };
        let identity = Identity::from_pem(read(chain).await?, read(key).await?);
        Ok(config.identity(identity))
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, Unreadable> {
    tokio::fs::read(file).await.map_err(|error| Unreadable {
        file: file.display().to_string(),
        error,
    })
}
