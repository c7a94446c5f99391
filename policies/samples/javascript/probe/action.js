// What the configuration can ask for, and what is wrong with one that asks for something else.
//
// Each check gives the faults of a value at a place. A field whose name ends in `?` can be left out.

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const escaped = (name) => name.replaceAll("~", "~0").replaceAll("/", "~1");
const unless = (fits, path, message) => (fits ? [] : [{ path, message }]);

const text = (value, at) => unless(typeof value === "string", at, "has to be text");
const number = (value, at) => unless(typeof value === "number", at, "has to be a number");
// JSON has no larger numbers that JavaScript reads as they are.
const whole = (most) => (value, at) =>
  unless(Number.isSafeInteger(value) && 0 <= value && value <= most, at, `has to be a whole number of at most ${most}`);
const oneOf = (...names) => (value, at) =>
  unless(names.includes(value), at, `has to be one of ${names.join(", ")}`);
const listOf = (check) => (values, at) =>
  Array.isArray(values) ? values.flatMap((value, i) => check(value, `${at}/${i}`)) : unless(false, at, "has to be a list");

// A name and its value.
const pair = (value, at) => {
  const found = listOf(text)(value, at);
  return found.length > 0 ? found : unless(value.length === 2, at, "has to be a name and a value");
};

// An object of these fields.
const record = (fields) => (value, at) => {
  if (!isObject(value)) {
    return unless(false, at, "has to be an object");
  }
  const known = Object.fromEntries(Object.entries(fields).map(([name, check]) => [name.replace("?", ""), check]));
  const missing = Object.keys(fields).filter((name) => !name.endsWith("?") && !Object.hasOwn(value, name));
  const found = missing.map((name) => ({ path: at, message: `lacks the field \`${name}\`` }));
  for (const [name, given] of Object.entries(value)) {
    const place = `${at}/${escaped(name)}`;
    if (!Object.hasOwn(known, name)) {
      found.push({ path: place, message: `is not known: there are ${Object.keys(known).join(", ")}` });
    } else if (given !== null || Object.hasOwn(fields, name)) {
      found.push(...known[name](given, place));
    }
  }
  return found;
};

// An object of one field, that says which it is.
const choice = (kinds) => (value, at) => {
  const names = isObject(value) ? Object.keys(value) : [];
  if (names.length !== 1) {
    return unless(false, at, "has to be an object of one field, the action");
  }
  const [name] = names;
  if (!Object.hasOwn(kinds, name)) {
    return unless(false, at, `\`${name}\` is no action: there are ${Object.keys(kinds).join(", ")}`);
  }
  return record(kinds[name])(value[name], `${at}/${name}`);
};

// Actions of a stage, which can have actions in them.
const actions = (values, at) => listOf(choice(ACTIONS))(values, at);
const bodyActions = (values, at) => listOf(choice(BODY_ACTIONS))(values, at);

const of = oneOf("stage", "request", "trailers");
const pairs = listOf(pair);
const [u8, u16, u32, u64] = [2 ** 8 - 1, 2 ** 16 - 1, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER].map(whole);

const ACTIONS = {
  report: { to: oneOf("header", "metadata", "log", "answer", "body") },
  when: { header: text, "is?": text, then: actions },
  from_header: { name: text },
  set_header: { name: text, value: text, "of?": of },
  set_all_header: { name: text, values: listOf(text), "of?": of },
  append_header: { name: text, value: text, "of?": of },
  delete_header: { name: text, "of?": of },
  get_header: { name: text, "of?": of },
  get_all_header: { name: text, "of?": of },
  set_header_bytes: { name: text, value: listOf(u8), "of?": of },
  set_method: { method: text },
  set_authority: { authority: text },
  set_path: { path: text },
  set_query: { "query?": text },
  set_status: { status: u16 },
  set_upstream_authority: { authority: text },
  set_timeout: { milliseconds: u64 },
  set_retries: { count: u32, on: listOf(text) },
  replace_body: { text },
  append_body: { text },
  upper_body: {},
  reroute: { "route?": text, "cluster?": text, "tags?": pairs },
  respond: { status: u16, "headers?": pairs, "body?": text },
  metadata_set: { key: text, value: text },
  metadata_get: { policy: text, key: text },
  metadata_delete: { key: text },
  key_value_get: { key: text },
  key_value_set: { key: text, value: text, "ttl?": u64 },
  key_value_compare_and_set: { key: text, "expected?": u64, value: text, "ttl?": u64 },
  key_value_delete: { key: text },
  log: { level: text, message: text },
  annotate: { key: text, value: text },
  increment: { name: text, "labels?": pairs, by: u64 },
  gauge: { name: text, "labels?": pairs, value: number },
  observe: { name: text, "labels?": pairs, value: number },
  http: {
    cluster: text,
    "method?": text,
    path: text,
    "authority?": text,
    "headers?": pairs,
    "body?": text,
    "timeout?": u32,
  },
  policy_name: {},
  random: { length: u32 },
  clock: {},
  trap: {},
  fail: { message: text },
};

const BODY_ACTIONS = {
  pass: {},
  upper: {},
  pass_chunks: { count: u32 },
  write: { text },
  write_many: { text, times: u32 },
  drop: {},
  stop: {},
  report: {},
  set_trailer: { name: text, value: text },
  log: { message: text },
  metadata_set: { key: text, value: text },
  write_metadata: { policy: text, key: text },
  annotate: { key: text, value: text },
  write_http: { cluster: text, path: text },
  trap: {},
};

const CONFIG = {
  "pre_route?": actions,
  "pre_upstream?": actions,
  "post_response?": actions,
  "request_body?": bodyActions,
  "response_body?": bodyActions,
  // What a configuration is refused with, for tests of `validate`.
  "refuse?": text,
};

// What is wrong with a configuration.
export function faults(config) {
  const found = record(CONFIG)(config, "");
  if (found.length === 0 && typeof config.refuse === "string") {
    found.push({ path: "/refuse", message: config.refuse });
  }
  return found;
}
