//! The REST interface as calls, for the command line and for tests of the other programs.
//!
//! A call either has its typed answer or a [`ClientError`], which names the server and says what
//! to do next.

mod error;

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use reqwest::{Method, RequestBuilder, Url, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::error::ClientError;
use self::error::{chain, describe, remedy};
use crate::{
    Id, Kind,
    rest::{
        AUTHOR, Code, IDEMPOTENCY_KEY, MERGE_PATCH_JSON, Node, Page, Problem, RevisionDetail,
        RevisionStatus, RevisionSummary, ServerVersion, TransactionRequest, TransactionResponse,
    },
};

/// Which resources a list is of.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Conditions on labels: `env=prod,team!=x,key,!other`.
    pub label: Option<String>,
    /// Only what goes to this fleet.
    pub fleet: Option<String>,
}

/// How a write is made.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Why, for the revision log.
    pub message: String,
    /// Only check it, and store nothing.
    pub dry_run: bool,
    /// The version the resource must have.
    pub if_version: Option<u64>,
}

/// Speaks to one management server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    author: Option<HeaderValue>,
    timeout: Duration,
}

/// How many entries to ask for at once: the most the server gives.
const PAGE_SIZE: usize = 1000;
/// The longest wait the server takes in one request.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long to wait before a transaction whose answer was lost is sent again.
const RESEND_AFTER: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

impl Client {
    /// How long a call may take unless said otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// A client of the server at `address`: `http://127.0.0.1:7080`; the scheme may be left out.
    ///
    /// # Errors
    /// When that is no HTTP address.
    pub fn new(address: &str) -> Result<Self, ClientError> {
        Self::new_believing(address, None)
    }

    /// The same for a server at `https://…` whose certificate is issued by one of these
    /// authorities, in PEM; `None`: by one the system believes.
    ///
    /// # Errors
    /// When that is no HTTP address, or there are no authorities in the text.
    pub fn new_believing(address: &str, authorities: Option<&[u8]>) -> Result<Self, ClientError> {
        let refuse = |reason: &str| ClientError::Address {
            address: address.to_owned(),
            reason: format!("{reason}: write http://HOST:PORT or https://HOST:PORT"),
        };
        let text = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let base = Url::parse(&text).map_err(|error| refuse(&error.to_string()))?;
        match base.scheme() {
            "http" | "https" => {}
            other => return Err(refuse(&format!("{other} is not supported"))),
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(refuse("it has a query or a fragment"));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("fleetway/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none());
        // A proxy of the environment is for the way out, not for this machine.
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if let Some(pem) = authorities {
            let believed = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if believed.is_empty() {
                return Err(ClientError::Authorities);
            }
            builder = builder.tls_certs_only(believed);
        }
        let http = builder.build().map_err(|error| refuse(&chain(&error)))?;
        Ok(Self {
            http,
            base,
            author: None,
            timeout: Self::DEFAULT_TIMEOUT,
        })
    }

    /// Makes the writes in this name. An empty one is left away.
    ///
    /// # Errors
    /// When it has characters a header field cannot carry.
    pub fn with_author(mut self, author: &str) -> Result<Self, ClientError> {
        let author = author.trim();
        self.author = (!author.is_empty())
            .then(|| HeaderValue::from_bytes(author.as_bytes()))
            .transpose()
            .map_err(|_| ClientError::Author(author.escape_debug().to_string()))?;
        Ok(self)
    }

    /// Sets how long a call may take; waiting for a revision to be live comes on top.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// One page of the documents of a kind, by name; `token` is that of the page before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_page(
        &self,
        kind: Kind,
        selection: &Selection,
        token: Option<&str>,
    ) -> Result<Page<Value>, ClientError> {
        let request = self
            .request(Method::GET, &[kind.plural()])
            .query(&[("page_size", PAGE_SIZE)])
            .query(&[
                ("label", &selection.label),
                ("fleet", &selection.fleet),
                ("page_token", &token.map(str::to_owned)),
            ]);
        self.send(request).await
    }

    /// All documents of a kind, by name, as one page. Its revision is that of the first page read.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(
        &self,
        kind: Kind,
        selection: &Selection,
    ) -> Result<Page<Value>, ClientError> {
        let mut all = self.list_page(kind, selection, None).await?;
        while let Some(token) = all.next_page_token.take() {
            let page = self.list_page(kind, selection, Some(&token)).await?;
            all.items.extend(page.items);
            all.next_page_token = page.next_page_token;
        }
        Ok(all)
    }

    /// The document of a resource.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, id: &Id) -> Result<Value, ClientError> {
        self.send(self.request(Method::GET, &path(id))).await
    }

    /// Creates a resource, which must not exist, and returns its document.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create(
        &self,
        kind: Kind,
        document: &Value,
        options: &WriteOptions,
    ) -> Result<Value, ClientError> {
        let request = self.write(Method::POST, &[kind.plural()], options);
        self.send(request.json(document)).await
    }

    /// Creates a resource or puts it in place of what is there, and returns its document.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put(
        &self,
        id: &Id,
        document: &Value,
        options: &WriteOptions,
    ) -> Result<Value, ClientError> {
        let request = self.write(Method::PUT, &path(id), options);
        self.send(request.json(document)).await
    }

    /// Changes parts of a resource by a JSON merge patch, and returns its document.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn patch(
        &self,
        id: &Id,
        patch: &Value,
        options: &WriteOptions,
    ) -> Result<Value, ClientError> {
        let request = self
            .write(Method::PATCH, &path(id), options)
            .json(patch)
            .header(header::CONTENT_TYPE, MERGE_PATCH_JSON);
        self.send(request).await
    }

    /// Uploads a component of `length` bytes, as it is read from the file. Gives its document, and
    /// whether it was not there before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upload(
        &self,
        wasm: tokio::fs::File,
        length: u64,
        options: &WriteOptions,
    ) -> Result<(Value, bool), ClientError> {
        let request = self
            .write(Method::PUT, &[Kind::Component.plural()], options)
            .header(header::CONTENT_TYPE, "application/wasm")
            .header(header::CONTENT_LENGTH, length)
            .body(wasm);
        let (status, document) = self.answer(request, self.timeout).await?;
        Ok((document, status == StatusCode::CREATED))
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(
        &self,
        id: &Id,
        options: &WriteOptions,
    ) -> Result<TransactionResponse, ClientError> {
        self.send(self.write(Method::DELETE, &path(id), options))
            .await
    }

    /// Makes changes together or not at all. With an idempotency key it is sent again, up to
    /// twice, when its answer was lost; the server makes it once.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn transaction(
        &self,
        request: &TransactionRequest,
        dry_run: bool,
        idempotency_key: Option<&str>,
    ) -> Result<TransactionResponse, ClientError> {
        let mut delays = RESEND_AFTER.into_iter();
        let mut lost = false;
        loop {
            let options = WriteOptions {
                dry_run,
                ..WriteOptions::default()
            };
            let mut call = self
                .write(Method::POST, &["transactions"], &options)
                .json(request);
            if let Some(key) = idempotency_key {
                call = call.header(IDEMPOTENCY_KEY, key);
            }
            let error = match self.send(call).await {
                Err(error @ ClientError::Unreachable { .. }) => error,
                answer => return answer,
            };
            lost |= matches!(error, ClientError::Unreachable { sent: true, .. });
            match delays.next() {
                Some(delay) if lost && idempotency_key.is_some() => tokio::time::sleep(delay).await,
                _ => return Err(error),
            }
        }
    }

    /// The newest `count` revisions, newest first, as one page.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revisions(&self, count: usize) -> Result<Page<RevisionSummary>, ClientError> {
        let mut token: Option<String> = None;
        let mut all: Option<Page<RevisionSummary>> = None;
        loop {
            let known = all.as_ref().map_or(0, |page| page.items.len());
            let size = count.saturating_sub(known).clamp(1, PAGE_SIZE);
            let request = self
                .request(Method::GET, &["revisions"])
                .query(&[("page_size", size)])
                .query(&[("page_token", &token)]);
            let page: Page<RevisionSummary> = self.send(request).await?;
            token.clone_from(&page.next_page_token);
            let all = all.get_or_insert_with(|| Page {
                items: Vec::new(),
                next_page_token: None,
                revision: page.revision,
            });
            all.items.extend(page.items);
            if token.is_none() || all.items.len() >= count {
                return Ok(Page {
                    items: std::mem::take(&mut all.items),
                    next_page_token: token,
                    revision: all.revision,
                });
            }
        }
    }

    /// A revision with what it changed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revision(&self, number: u64) -> Result<RevisionDetail, ClientError> {
        self.send(self.request(Method::GET, &["revisions", &number.to_string()]))
            .await
    }

    /// How far a revision has come. Waits up to `wait` for it to be live on `share` of the
    /// connected nodes: `all` or `95%`. The wait ends early when all that do not have it refused
    /// it.
    ///
    /// # Errors
    /// See [`ClientError`]. That it is not live at the end of the wait is none.
    pub async fn status(
        &self,
        revision: u64,
        wait: Duration,
        share: &str,
    ) -> Result<RevisionStatus, ClientError> {
        let number = revision.to_string();
        let mut rest = wait;
        loop {
            let now = rest.min(LONGEST_WAIT);
            rest = rest.saturating_sub(now);
            let request = self
                .request(Method::GET, &["revisions", &number, "status"])
                .query(&[("wait", format!("{}ms", now.as_millis()).as_str())])
                .query(&[("nodes", share)]);
            let status: RevisionStatus = self.send_within(request, self.timeout + now).await?;
            if status.live || status.refused || rest.is_zero() {
                return Ok(status);
            }
        }
    }

    /// All nodes, by id, as one page.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn nodes(&self) -> Result<Page<Node>, ClientError> {
        let mut all: Option<Page<Node>> = None;
        loop {
            let token = all.as_ref().and_then(|all| all.next_page_token.clone());
            let request = self
                .request(Method::GET, &["nodes"])
                .query(&[("page_size", PAGE_SIZE)])
                .query(&[("page_token", token)]);
            let page: Page<Node> = self.send(request).await?;
            let all = match &mut all {
                None => all.insert(page),
                Some(all) => {
                    all.items.extend(page.items);
                    all.next_page_token = page.next_page_token;
                    all
                }
            };
            if all.next_page_token.is_none() {
                return Ok(all.clone());
            }
        }
    }

    /// A node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn node(&self, id: &str) -> Result<Node, ClientError> {
        self.send(self.request(Method::GET, &["nodes", id])).await
    }

    /// The server's version; `None` if it is one that does not tell.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn version(&self) -> Result<Option<ServerVersion>, ClientError> {
        match self.send(self.request(Method::GET, &["version"])).await {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.code() == Some(Code::NoSuchPath) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // An http address always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        self.http
            .request(method, url)
            .header(header::ACCEPT, "application/json")
    }

    fn write(&self, method: Method, path: &[&str], options: &WriteOptions) -> RequestBuilder {
        let mut request = self.request(method, path);
        if options.dry_run {
            request = request.query(&[("dry_run", true)]);
        }
        if !options.message.is_empty() {
            request = request.query(&[("message", &options.message)]);
        }
        if let Some(version) = options.if_version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if let Some(author) = &self.author {
            request = request.header(AUTHOR, author);
        }
        request
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        self.send_within(request, self.timeout).await
    }

    async fn send_within<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let (_, answer) = self.answer(request, timeout).await?;
        Ok(answer)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<(StatusCode, T), ClientError> {
        let (http, request) = request.timeout(timeout).build_split();
        let request = request.map_err(|error| self.transport(&error, timeout, false))?;
        let write = request.method() != Method::GET;
        let failed = |error| self.transport(&error, timeout, write);
        let response = http.execute(request).await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        let unexpected = |reason| ClientError::Unexpected {
            server: self.server().to_owned(),
            reason,
        };
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map(|answer| (status, answer))
                .map_err(|error| unexpected(format!("its answer cannot be read: {error}")));
        }
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => unexpected(describe(status, &body)),
        })
    }

    fn transport(&self, error: &reqwest::Error, timeout: Duration, write: bool) -> ClientError {
        let server = self.server().to_owned();
        if error.is_timeout() {
            return ClientError::TimedOut {
                server,
                after: timeout,
                write,
            };
        }
        let remedy = remedy(error, self.base.scheme() == "https");
        ClientError::Unreachable {
            server,
            reason: chain(error),
            sent: remedy.is_none() && !error.is_connect() && !error.is_builder(),
            write,
            remedy,
        }
    }
}

fn path(id: &Id) -> [&str; 2] {
    [id.kind.plural(), id.name.as_str()]
}

fn is_loopback(url: &Url) -> bool {
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'].as_slice());
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_the_scheme_out_and_have_a_path() {
        for (address, server) in [
            ("http://127.0.0.1:7080", "http://127.0.0.1:7080"),
            ("127.0.0.1:7080", "http://127.0.0.1:7080"),
            ("localhost:7080/", "http://localhost:7080"),
            (
                "http://ops.example/fleetway/",
                "http://ops.example/fleetway",
            ),
        ] {
            let client = Client::new(address).unwrap();
            assert_eq!(client.server(), server);
            let request = client.request(Method::GET, &["nodes", "a/b c"]);
            assert_eq!(
                request.build().unwrap().url().as_str(),
                format!("{server}/v1/nodes/a%2Fb%20c")
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_remedy() {
        for address in ["", "ftp://a", "http://a?b", "http://"] {
            let error = Client::new(address).unwrap_err().to_string();
            assert!(error.contains("write http://HOST:PORT"), "{error}");
        }
        let error = Client::new_believing("https://a", Some(b"none")).unwrap_err();
        assert!(error.to_string().contains("no authorities"), "{error}");
    }
}
