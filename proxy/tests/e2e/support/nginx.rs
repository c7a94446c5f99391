//! nginx as an upstream that speaks TLS: its implementation is not ours.

use std::{fs, net::SocketAddr, process::Stdio};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{Authority, certificates::Issued, eventually};

/// A running nginx. It answers with the name it was asked for, the subject of the client's
/// certificate, and `r` where a session was resumed.
pub struct Nginx {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

fn start(folder: &TempDir) -> Child {
    Command::new("nginx")
        .args(["-e", "stderr", "-c"])
        .arg(folder.path().join("nginx.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nginx is installed")
}

/// Whether it listens in the end: it ends itself where it cannot.
async fn listens(child: &mut Child, address: SocketAddr) -> bool {
    eventually("nginx listens", async || {
        if child.try_wait().expect("a process").is_some() {
            return Some(false);
        }
        let connected = TcpStream::connect(address).await;
        connected.is_ok().then_some(true)
    })
    .await
}

impl Nginx {
    /// One that shows `certificate`; `settings` are further directives of its server.
    pub async fn showing(certificate: &Issued, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let chain = write("chain.pem", &certificate.chain);
        let key = write("key.pem", &certificate.key);
        // Older ones leave TLS 1.3 out unless told.
        let versions = if settings.contains("ssl_protocols") {
            ""
        } else {
            "ssl_protocols TLSv1.2 TLSv1.3;"
        };
        loop {
            // nginx cannot tell which port the system chose: one that is free now is tried.
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let at = folder.path().display();
            let configuration = format!(
                r#"daemon off; master_process off; pid {at}/pid; error_log stderr error;
                events {{}}
                http {{
                    access_log off;
                    client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
                    uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
                    server {{
                        listen {address} ssl;
                        ssl_certificate {chain}; ssl_certificate_key {key};
                        {versions}
                        {settings}
                        location / {{
                            return 200 "sni=$ssl_server_name client=$ssl_client_s_dn $ssl_session_reused";
                        }}
                    }}
                }}"#
            );
            write("nginx.conf", &configuration);
            let mut child = start(&folder);
            if listens(&mut child, address).await {
                return Self {
                    address,
                    child,
                    folder,
                };
            }
        }
    }

    /// Has it end, and another listen in its place that chooses HTTP/2, or HTTP/1.1 only.
    pub async fn restart(&mut self, http2: bool) {
        self.child.kill().await.expect("it ends");
        let file = self.folder.path().join("nginx.conf");
        let before = fs::read_to_string(&file).expect("its configuration");
        let plain = format!("listen {} ssl;", self.address);
        let with = format!("listen {} ssl http2;", self.address);
        let (from, to) = if http2 { (plain, with) } else { (with, plain) };
        fs::write(&file, before.replace(&from, &to)).expect("written");
        self.child = start(&self.folder);
        assert!(listens(&mut self.child, self.address).await);
    }

    /// One that asks clients for a certificate of `authority`.
    pub async fn asking(certificate: &Issued, authority: &Authority) -> Self {
        let file = authority.file();
        let settings = format!(
            "ssl_verify_client on; ssl_client_certificate {};",
            file.display()
        );
        Self::showing(certificate, &settings).await
    }
}
