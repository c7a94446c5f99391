// Does what its configuration says at every stage, and reports what it sees.
//
// It takes the configuration of `conformance/probe`, and its reports are alike: tests run both.
//
//     {"pre_route": [{"report": {"to": "header"}}, {"set_header": {"name": "x-a", "value": "1"}}],
//      "response_body": [{"write": {"text": "<"}}, {"upper": {}}, {"write": {"text": ">"}}]}
//
// What an action gives ("ok", "forbidden", a value read) is in the next report, in `results`.

import { get } from "fleetway:policy/config@1.0.0";
import { Acting } from "./act.js";
import { faults } from "./action.js";
import { Passing } from "./bodies.js";

// How many stages this instance has seen.
let calls = 0;

// What to do at a stage, and the stage at work.
const actions = (stage) => JSON.parse(get())[stage] ?? [];
const decision = (stage, place) => new Acting(place, ++calls).run(actions(stage)) ?? { tag: "continue" };
const transform = (stage, reader, writer) => new Passing(reader, writer, ++calls).run(actions(stage));

export const preRoute = {
  handle: (request) => decision("pre_route", { name: "pre-route", request }),
};

export const preUpstream = {
  handle: (request, upstream, body) => decision("pre_upstream", { name: "pre-upstream", request, upstream, body }),
};

export const postResponse = {
  handle: (request, response, exchange, body) =>
    decision("post_response", { name: "post-response", request, response, exchange, body }),
};

export const requestBody = {
  transform: (reader, writer) => transform("request_body", reader, writer),
};

export const responseBody = {
  transform: (reader, writer) => transform("response_body", reader, writer),
};

export const configuration = {
  validate(config) {
    const found = faults(JSON.parse(config));
    if (found.length > 0) {
      throw found;
    }
  },
};
