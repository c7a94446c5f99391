//! TLS as a listener terminates it.

use std::{sync::Arc, time::Duration};

use fleetway_api::{CaBundle, Certificate, ClientCertificates, ListenerTls};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{NoClientAuth, ProducesTickets, danger::ClientCertVerifier},
};

use super::{certificates::Certificates, provider, verify::ClientVerifier, versions};

/// How a listener terminates TLS: its certificates, and what is agreed on.
#[derive(Debug)]
pub struct Terminate {
    /// What rustls needs for a handshake.
    pub config: Arc<ServerConfig>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    clients: Option<Clients>,
}

/// What clients are verified by.
#[derive(Debug)]
struct Clients {
    settings: ClientCertificates,
    /// Those of one state of the secret, and with them its revocation lists.
    authorities: Arc<RootCertStore>,
}

impl Clients {
    /// Whether every client that one takes the other takes too.
    fn is_same(one: Option<&Self>, two: Option<&Self>) -> bool {
        match (one, two) {
            (Some(one), Some(two)) => {
                one.settings == two.settings && Arc::ptr_eq(&one.authorities, &two.authorities)
            }
            (None, None) => true,
            _ => false,
        }
    }
}

impl Terminate {
    /// Makes it of a listener's settings and `certificates`, in their order; `client_ca` is what
    /// client certificates are verified by. What is spoken within is agreed on where it is HTTP,
    /// and else left to both ends.
    ///
    /// Sessions of `before` can be resumed as long as clients are verified in the same way: nobody
    /// looks at the certificate of a client that resumes.
    ///
    /// # Errors
    /// When the system gives no random numbers, or the library refuses the authorities.
    pub fn new<'c>(
        settings: &ListenerTls,
        http: bool,
        certificates: impl IntoIterator<Item = &'c Certificate>,
        client_ca: Option<&CaBundle>,
        before: Option<&Self>,
    ) -> Result<Self, rustls::Error> {
        let asked = settings.client_certificates.as_ref().zip(client_ca);
        let clients = asked.map(|(settings, ca)| Clients {
            settings: settings.clone(),
            authorities: ca.roots.clone(),
        });
        let ticketer: Arc<dyn ProducesTickets> = match before {
            Some(before) if Clients::is_same(before.clients.as_ref(), clients.as_ref()) => {
                before.config.ticketer.clone()
            }
            _ => Ticketer::new()?,
        };
        let verifier: Arc<dyn ClientCertVerifier> = match asked {
            Some((settings, ca)) => Arc::new(ClientVerifier::new(settings, ca)?),
            None => Arc::new(NoClientAuth),
        };
        let mut config = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&versions(settings.min_version, settings.max_version))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Certificates::new(certificates)));
        if http {
            config.alpn_protocols = settings.alpn.iter().map(|one| one.id().to_vec()).collect();
        }
        config.ticketer = ticketer;
        // Clients that open several connections resume with it more than once, or get another with
        // each; a second one would be made for nothing by all that do not.
        config.send_tls13_tickets = 1;
        // Clients often put the suite first that costs both ends most.
        config.ignore_client_order = true;
        Ok(Self {
            config: Arc::new(config),
            handshake_timeout: settings.handshake_timeout,
            clients,
        })
    }
}
