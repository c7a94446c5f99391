// Adds the header fields that keep browsers on the safe side, where a response has none of them.
//
//     {"frame": "DENY", "hsts": {"max_age": 31536000, "subdomains": true}, "csp": "default-src 'self'"}
//
// Each can be left out. `nosniff` and a referrer policy are always set; `hsts` only counts for
// requests that came by TLS. Stage: POST_RESPONSE.

import { get } from "fleetway:policy/config@1.0.0";

const FIELDS = ["frame", "hsts", "csp"];
const FRAMES = ["DENY", "SAMEORIGIN"];

// Checked to be ASCII.
const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const escaped = (name) => name.replaceAll("~", "~0").replaceAll("/", "~1");

function unknown(at, given, known) {
  return Object.keys(given)
    .filter((name) => !known.includes(name))
    .map((name) => ({ path: `${at}/${escaped(name)}`, message: `is not known: there are ${known.join(", ")}` }));
}

// What is wrong with a configuration.
function faults(settings) {
  if (!isObject(settings)) {
    return [{ path: "", message: "has to be an object" }];
  }
  const { frame, hsts, csp } = settings;
  const found = unknown("", settings, FIELDS);
  if (frame !== undefined && !FRAMES.includes(frame)) {
    found.push({ path: "/frame", message: `has to be one of ${FRAMES.join(", ")}` });
  }
  if (csp !== undefined && (typeof csp !== "string" || !/^[\x20-\x7e]+$/.test(csp))) {
    found.push({ path: "/csp", message: "has to be the value of a header field" });
  }
  if (hsts !== undefined && !isObject(hsts)) {
    found.push({ path: "/hsts", message: "has to be an object with max_age" });
  } else if (hsts !== undefined) {
    found.push(...unknown("/hsts", hsts, ["max_age", "subdomains"]));
    if (!Number.isSafeInteger(hsts.max_age) || hsts.max_age < 0) {
      found.push({ path: "/hsts/max_age", message: "has to be a number of seconds" });
    }
    if (hsts.subdomains !== undefined && typeof hsts.subdomains !== "boolean") {
      found.push({ path: "/hsts/subdomains", message: "has to be true or false" });
    }
  }
  return found;
}

export const postResponse = {
  handle(request, response) {
    const { frame, hsts, csp } = JSON.parse(get());
    const headers = response.headers();
    const set = (name, value) => headers.has(name) || headers.set(name, bytes(value));
    set("x-content-type-options", "nosniff");
    set("referrer-policy", "strict-origin-when-cross-origin");
    if (frame) set("x-frame-options", frame);
    if (csp) set("content-security-policy", csp);
    if (hsts && request.scheme() === "https") {
      const subdomains = hsts.subdomains ? "; includeSubDomains" : "";
      set("strict-transport-security", `max-age=${hsts.max_age}${subdomains}`);
    }
    return { tag: "continue" };
  },
};

export const configuration = {
  validate(config) {
    const found = faults(JSON.parse(config));
    if (found.length > 0) {
      throw found;
    }
  },
};
