//! What the configuration can ask for. `{}` stands where an action needs nothing more.

use serde::Deserialize;

/// Text by name, in the order written.
pub type Pairs = Vec<(String, String)>;

/// Fields to act on.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Those of what the stage is about: the response in `post_response`, else the request.
    #[default]
    Stage,
    /// The request's headers.
    Request,
    /// The trailers of the stage's body.
    Trailers,
}

/// Where a report goes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// The field `x-probe-STAGE`, such as `x-probe-pre-route`, of what the stage is about.
    Header,
    /// The note `STAGE`, such as `pre-route`.
    Metadata,
    /// A line of level info.
    Log,
    /// The body of an answer of status 200; nothing is done behind it.
    Answer,
    /// The stage's buffered body, which it replaces.
    Body,
}

/// One thing to do at a stage.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Says everything the stage sees, as JSON.
    Report { to: To },
    /// Does these where a header of the request has this value, or is there at all.
    When {
        header: String,
        #[serde(default)]
        is: Option<String>,
        then: Vec<Action>,
    },
    /// Does the actions in a header of the request, as a JSON list.
    FromHeader { name: String },

    /// One value in place of all.
    SetHeader {
        name: String,
        value: String,
        #[serde(default)]
        of: Of,
    },
    /// Several values in place of all.
    SetAllHeader {
        name: String,
        values: Vec<String>,
        #[serde(default)]
        of: Of,
    },
    /// One value more.
    AppendHeader {
        name: String,
        value: String,
        #[serde(default)]
        of: Of,
    },
    /// No value any more.
    DeleteHeader {
        name: String,
        #[serde(default)]
        of: Of,
    },
    /// Gives the first value.
    GetHeader {
        name: String,
        #[serde(default)]
        of: Of,
    },
    /// Gives all values.
    GetAllHeader {
        name: String,
        #[serde(default)]
        of: Of,
    },
    /// Sets a value that is these bytes.
    SetHeaderBytes {
        name: String,
        value: Vec<u8>,
        #[serde(default)]
        of: Of,
    },

    /// Another method.
    SetMethod { method: String },
    /// Another authority.
    SetAuthority { authority: String },
    /// Another path.
    SetPath { path: String },
    /// Another query, or none.
    SetQuery { query: Option<String> },
    /// Another status.
    SetStatus { status: u16 },
    /// The authority upstream sees.
    SetUpstreamAuthority { authority: String },
    /// The time of the exchange.
    SetTimeout { milliseconds: u64 },
    /// How often it is sent again, for `connect-failure`, `reset` and `gateway-error`.
    SetRetries { count: u32, on: Vec<String> },

    /// Another buffered body.
    ReplaceBody { text: String },
    /// Text behind the buffered body.
    AppendBody { text: String },
    /// The buffered body, in upper case.
    UpperBody {},

    /// Routes anew.
    Reroute {
        #[serde(default)]
        route: Option<String>,
        #[serde(default)]
        cluster: Option<String>,
        #[serde(default)]
        tags: Pairs,
    },
    /// Answers.
    Respond {
        status: u16,
        #[serde(default)]
        headers: Pairs,
        #[serde(default)]
        body: String,
    },

    /// Makes a note.
    MetadataSet { key: String, value: String },
    /// Gives a note.
    MetadataGet { policy: String, key: String },
    /// Takes a note away.
    MetadataDelete { key: String },
    /// Gives a shared value with its version.
    KeyValueGet { key: String },
    /// Stores a shared value.
    KeyValueSet {
        key: String,
        value: String,
        #[serde(default)]
        ttl: Option<u64>,
    },
    /// Stores a shared value over this version of it.
    KeyValueCompareAndSet {
        key: String,
        expected: Option<u64>,
        value: String,
        #[serde(default)]
        ttl: Option<u64>,
    },
    /// Deletes a shared value.
    KeyValueDelete { key: String },

    /// Writes a line, of level `error`, `warn`, `info`, `debug` or `trace`.
    Log { level: String, message: String },
    /// Adds to the access log.
    Annotate { key: String, value: String },
    /// Adds to a counter.
    Increment {
        name: String,
        #[serde(default)]
        labels: Pairs,
        by: u64,
    },
    /// Sets a gauge.
    Gauge {
        name: String,
        #[serde(default)]
        labels: Pairs,
        value: f64,
    },
    /// Observes a value.
    Observe {
        name: String,
        #[serde(default)]
        labels: Pairs,
        value: f64,
    },
    /// Sends a request of its own, and gives status, headers and body of the response.
    Http {
        cluster: String,
        #[serde(default = "get")]
        method: String,
        path: String,
        #[serde(default)]
        authority: Option<String>,
        #[serde(default)]
        headers: Pairs,
        #[serde(default)]
        body: String,
        #[serde(default)]
        timeout: Option<u32>,
    },
    /// Gives the policy's name.
    PolicyName {},
    /// Gives so many random bytes, in hexadecimal.
    Random { length: u32 },
    /// Gives the time, in nanoseconds since 1970, and that of the monotonic clock.
    Clock {},

    /// Stops at once.
    Trap {},
    /// Returns an error.
    Fail { message: String },
}

fn get() -> String {
    "GET".to_owned()
}

/// One thing to do with a body as it passes. At the end the rest is sent on, unless `stop` was there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BodyAction {
    /// Sends the rest on as it is.
    Pass {},
    /// Sends the rest on in upper case.
    Upper {},
    /// Sends so many chunks on.
    PassChunks { count: u32 },
    /// Writes text.
    Write { text: String },
    /// Writes text so many times.
    WriteMany { text: String, times: u32 },
    /// Reads the rest and drops it.
    Drop {},
    /// Reads no more.
    Stop {},
    /// Writes what was read so far, as JSON: chunks, bytes, trailers, calls of this instance.
    Report {},
    /// Sets a trailer, once everything is read.
    SetTrailer { name: String, value: String },
    /// Logs, of level info.
    Log { message: String },
    /// Makes a note.
    MetadataSet { key: String, value: String },
    /// Writes a note.
    WriteMetadata { policy: String, key: String },
    /// Adds to the access log.
    Annotate { key: String, value: String },
    /// Writes the body of the response to a request of its own, or why there is none.
    WriteHttp { cluster: String, path: String },
    /// Stops at once.
    Trap {},
}
