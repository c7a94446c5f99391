// Does what the actions of a stage say.

import * as clock from "fleetway:policy/clock@1.0.0";
import { policy as policyName } from "fleetway:policy/config@1.0.0";
import { send } from "fleetway:policy/http-client@1.0.0";
import * as keyValue from "fleetway:policy/key-value@1.0.0";
import * as log from "fleetway:policy/log@1.0.0";
import * as metadata from "fleetway:policy/metadata@1.0.0";
import * as metrics from "fleetway:policy/metrics@1.0.0";
import * as random from "fleetway:policy/random@1.0.0";
import { bytes, json, lossy, nanoseconds, pairs, report, upper } from "./report.js";

const NOTHING = "nothing to act on";
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// What was refused, by its name in the ABI.
const refused = (error) => error.payload?.tag ?? error.payload;

// What a change of something comes to.
function changed(thing, change) {
  if (thing === undefined) return NOTHING;
  try {
    change(thing);
    return "ok";
  } catch (error) {
    return refused(error);
  }
}

// The version of what was written, or why it was not.
function stored(write) {
  try {
    return write();
  } catch (error) {
    return refused(error);
  }
}

// The response to a request of its own, or why there is none.
export function sent({ cluster, method = "GET", path, authority, headers = [], body = "", timeout }) {
  try {
    return send({
      cluster,
      method,
      pathWithQuery: path,
      authority: authority ?? undefined,
      headers: headers.map(([name, value]) => [name, bytes(value)]),
      body: bytes(body),
      timeout: timeout ?? undefined,
    });
  } catch (error) {
    const { tag, val } = error.payload;
    return val === undefined ? tag : `${tag}: ${val}`;
  }
}

// Bytes as text; null where they are none.
function text(value) {
  try {
    return value === undefined ? null : strict.decode(value);
  } catch {
    return null;
  }
}

// Milliseconds, versions and counts: the configuration has them as numbers.
const u64 = (number) => (number === undefined || number === null ? undefined : BigInt(number));

function joined(one, other) {
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}

// A stage at work, the instance's so-manieth.
export class Acting {
  constructor(place, calls) {
    this.place = place;
    this.calls = calls;
    // What the actions so far have given.
    this.results = [];
  }

  // Does these. Behind one that decides none is done.
  run(actions) {
    for (const action of actions) {
      const [[name, given]] = Object.entries(action);
      if (!Object.hasOwn(FLOW, name)) {
        this.results.push(DO[name](this, given));
        continue;
      }
      const decision = FLOW[name](this, given);
      if (decision) return decision;
    }
  }

  // The fields to act on, where there are any.
  fields(of = "stage") {
    const { request, response, body } = this.place;
    if (of === "trailers") return body?.trailers();
    return (of === "stage" && response ? response : request).headers();
  }
}

const respond = (status, headers, body) => ({
  tag: "respond",
  val: { status, headers: headers.map(([name, value]) => [name, bytes(value)]), body: bytes(body) },
});

// Those that give a decision, or none.
const FLOW = {
  report(at, { to }) {
    const said = json(report(at.place, at.calls, at.results));
    if (to === "header") at.fields().set(`x-probe-${at.place.name}`, bytes(said));
    if (to === "metadata") metadata.set(at.place.name, bytes(said));
    if (to === "log") log.write("info", said);
    if (to === "body") at.place.body?.replace(bytes(said));
    if (to === "answer") return respond(200, [["content-type", "application/json"]], said);
  },
  when(at, { header, is, then }) {
    const value = text(at.place.request.headers().get(header));
    if (value !== null && (is ?? value) === value) return at.run(then);
  },
  from_header(at, { name }) {
    const said = text(at.place.request.headers().get(name));
    if (said !== null) return at.run(JSON.parse(said));
  },
  reroute(at, { route, cluster, tags = [] }) {
    if (at.place.response) throw new Error("a response cannot be routed");
    return { tag: "reroute", val: { route: route ?? undefined, cluster: cluster ?? undefined, tags } };
  },
  respond: (_, { status, headers = [], body = "" }) => respond(status, headers, body),
  // JavaScript cannot stop at once: what nobody catches ends the call.
  trap() {
    throw new Error("a trap");
  },
  fail(_, { message }) {
    log.write("error", message);
    throw new Error(message);
  },
};

// Those that give a result.
const DO = {
  set_header: (at, { name, value, of }) => changed(at.fields(of), (fields) => fields.set(name, bytes(value))),
  set_header_bytes: (at, { name, value, of }) =>
    changed(at.fields(of), (fields) => fields.set(name, Uint8Array.from(value))),
  set_all_header: (at, { name, values, of }) =>
    changed(at.fields(of), (fields) => fields.setAll(name, values.map(bytes))),
  append_header: (at, { name, value, of }) => changed(at.fields(of), (fields) => fields.append(name, bytes(value))),
  delete_header: (at, { name, of }) => changed(at.fields(of), (fields) => fields.delete(name)),
  get_header(at, { name, of }) {
    const fields = at.fields(of);
    return fields ? text(fields.get(name)) : NOTHING;
  },
  get_all_header(at, { name, of }) {
    const fields = at.fields(of);
    return fields ? fields.getAll(name).map(text).filter((value) => value !== null) : NOTHING;
  },

  set_method: (at, { method }) => changed(at.place.request, (request) => request.setMethod(method)),
  set_authority: (at, { authority }) => changed(at.place.request, (request) => request.setAuthority(authority)),
  set_path: (at, { path }) => changed(at.place.request, (request) => request.setPath(path)),
  set_query: (at, { query }) => changed(at.place.request, (request) => request.setQuery(query ?? undefined)),
  set_status: (at, { status }) => changed(at.place.response, (response) => response.setStatus(status)),
  set_upstream_authority: (at, { authority }) =>
    changed(at.place.upstream, (upstream) => upstream.setAuthority(authority)),
  set_timeout: (at, { milliseconds }) => changed(at.place.upstream, (upstream) => upstream.setTimeout(milliseconds)),
  set_retries: (at, { count, on }) =>
    changed(at.place.upstream, (upstream) =>
      upstream.setRetries(count, {
        connectFailure: on.includes("connect-failure"),
        reset: on.includes("reset"),
        gatewayError: on.includes("gateway-error"),
      }),
    ),

  replace_body: (at, { text }) => changed(at.place.body, (body) => body.replace(bytes(text))),
  append_body: (at, { text }) =>
    changed(at.place.body, (body) => body.replace(joined(body.bytes(), bytes(text)))),
  upper_body: (at) => changed(at.place.body, (body) => body.replace(upper(body.bytes()))),

  metadata_set: (_, { key, value }) => metadata.set(key, bytes(value)),
  metadata_get: (_, { policy, key }) => text(metadata.get(policy, key)),
  metadata_delete: (_, { key }) => metadata.delete(key),

  key_value_get(_, { key }) {
    const entry = keyValue.get(key);
    return entry ? { value: lossy(entry.value), version: entry.version } : null;
  },
  key_value_set: (_, { key, value, ttl }) => stored(() => keyValue.set(key, bytes(value), u64(ttl))),
  key_value_compare_and_set: (_, { key, expected, value, ttl }) =>
    stored(() => keyValue.compareAndSet(key, u64(expected), bytes(value), u64(ttl))),
  key_value_delete: (_, { key }) => keyValue.delete(key),

  log(_, { level, message }) {
    log.write(level, message);
    return "ok";
  },
  annotate: (_, { key, value }) => log.annotate(key, value),
  increment(_, { name, labels = [], by }) {
    metrics.increment(name, labels, u64(by));
    return "ok";
  },
  gauge(_, { name, labels = [], value }) {
    metrics.set(name, labels, value);
    return "ok";
  },
  observe(_, { name, labels = [], value }) {
    metrics.observe(name, labels, value);
    return "ok";
  },
  http(_, given) {
    const response = sent(given);
    if (typeof response === "string") return response;
    return { status: response.status, headers: pairs(response.headers), body: lossy(response.body) };
  },
  policy_name: () => policyName(),
  random: (_, { length }) => Array.from(random.bytes(length), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  clock: () => ({ now: nanoseconds(clock.now()), monotonic: clock.monotonic() }),
};
