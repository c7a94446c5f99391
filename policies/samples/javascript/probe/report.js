// Everything a stage sees, as JSON.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export const bytes = (text) => encoder.encode(text);
// Text of bytes, with what is not UTF-8 replaced.
export const lossy = (value) => decoder.decode(value);
// ASCII letters in upper case, whatever else there is.
export const upper = (value) => value.map((byte) => (0x61 <= byte && byte <= 0x7a ? byte - 0x20 : byte));
// Since 1970.
export const nanoseconds = ({ seconds, nanoseconds }) => seconds * 1_000_000_000n + BigInt(nanoseconds);

// As `JSON.stringify` has it, and whole numbers of 64 bits, which it does not take, as numbers.
export const json = (value) =>
  JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? `\u0001${inner}` : inner)).replaceAll(
    /"\\u0001(\d+)"/g,
    "$1",
  );

// What a stage sees, with how many stages its instance has seen and what was done so far.
export function report({ name, request, upstream, response, exchange, body }, calls, results) {
  const said = { stage: name, calls, request: ofRequest(request), results };
  if (upstream) {
    said.upstream = {
      route: upstream.route(),
      labels: upstream.labels(),
      cluster: upstream.cluster(),
      authority: upstream.authority(),
      path_with_query: upstream.pathWithQuery(),
    };
  }
  if (response) {
    said.response = { status: response.status(), headers: headers(response.headers()) };
    said.exchange = {
      route: exchange.route ?? null,
      cluster: exchange.cluster ?? null,
      endpoint: exchange.endpoint ?? null,
      duration: exchange.duration,
    };
  }
  if (body) {
    said.body = { size: body.size(), text: lossy(body.bytes()), trailers: headers(body.trailers()) };
  }
  return said;
}

function ofRequest(request) {
  const { address, port, protocol, listener, connection } = request.client();
  return {
    id: request.id(),
    trace_id: request.traceId() ?? null,
    received: nanoseconds(request.received()),
    client: { address, port, protocol, listener, connection },
    tls: ofTls(request.tls()),
    method: request.method(),
    scheme: request.scheme(),
    authority: request.authority(),
    path: request.path(),
    query: request.query() ?? null,
    headers: headers(request.headers()),
  };
}

function ofTls(tls) {
  if (!tls) return null;
  const { version, serverName, certificate } = tls;
  return {
    version,
    server_name: serverName ?? null,
    certificate: certificate
      ? {
          subject: certificate.subject,
          uris: certificate.uris,
          dns_names: certificate.dnsNames,
          sha256: certificate.sha256,
        }
      : null,
  };
}

// Fields as pairs. Reports are left out: each would hold the last.
export function headers(fields) {
  if (!fields) return null;
  return pairs(fields.entries().filter(([name]) => !name.startsWith("x-probe-")));
}

// The same of fields that are pairs.
export const pairs = (fields) => fields.map(([name, value]) => [name, lossy(value)]);
