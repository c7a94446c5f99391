//! TLS to the management servers: whose certificates are believed, and what this proxy shows.

use std::path::{Path, PathBuf};

use fleetway_api::key_file::{self, KeyFileError};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use zeroize::Zeroizing;

/// The files TLS to the servers needs. They are read anew for each connection, so that what is
/// renewed is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The authorities, in PEM, one of which issued the servers' certificates.
    pub authorities: PathBuf,
    /// This proxy's certificate chain and its key, in PEM, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A file that is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It cannot be.
    #[error("cannot read {file}: {error}")]
    File {
        /// Which.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// It holds the key, and cannot be read or is open to others.
    #[error("xds_key: {0}")]
    Key(#[from] KeyFileError),
}

impl Trust {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or the key's is open to others.
    pub async fn read(&self) -> Result<ClientTlsConfig, Unreadable> {
        let authorities = Certificate::from_pem(read(&self.authorities).await?);
        let config = ClientTlsConfig::new().ca_certificate(authorities);
        let Some((chain, key)) = &self.identity else {
            return Ok(config);
        };
        let identity = Identity::from_pem(read(chain).await?, read_key(key).await?);
        Ok(config.identity(identity))
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, Unreadable> {
    tokio::fs::read(file)
        .await
        .map_err(|error| Unreadable::File {
            file: file.display().to_string(),
            error,
        })
}

async fn read_key(file: &Path) -> Result<Zeroizing<String>, Unreadable> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || key_file::read(&path)).await;
    let read = read.map_err(|stopped| Unreadable::File {
        file: file.display().to_string(),
        error: stopped.into(),
    })?;
    Ok(read?)
}
