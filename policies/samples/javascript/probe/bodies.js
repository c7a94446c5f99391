// Does what the actions of a body say.

import * as log from "fleetway:policy/log@1.0.0";
import * as metadata from "fleetway:policy/metadata@1.0.0";
import { sent } from "./act.js";
import { bytes, headers, json, upper } from "./report.js";

// The proxy takes at most this much at once.
const WRITE_MAX = 1 << 20;

// A body on its way through, in the instance's so-manieth stage.
export class Passing {
  constructor(reader, writer, calls) {
    this.reader = reader;
    this.writer = writer;
    this.calls = calls;
    this.chunks = 0;
    this.bytes = 0;
  }

  // Does these, and sends the rest on unless `stop` was there.
  run(actions) {
    for (const action of actions) {
      const [[name, given]] = Object.entries(action);
      if (name === "stop") return;
      DO[name](this, given);
    }
    DO.pass(this);
  }

  // The chunks that are left.
  *read(most = Infinity) {
    for (let count = 0; count < most; count++) {
      const chunk = this.reader.read();
      if (chunk === undefined) return;
      this.chunks += 1;
      this.bytes += chunk.length;
      yield chunk;
    }
  }

  write(data) {
    for (let start = 0; start < data.length; start += WRITE_MAX) {
      this.writer.write(data.subarray(start, start + WRITE_MAX));
    }
  }
}

const DO = {
  pass(body) {
    for (const chunk of body.read()) body.write(chunk);
  },
  upper(body) {
    for (const chunk of body.read()) body.write(upper(chunk));
  },
  pass_chunks(body, { count }) {
    for (const chunk of body.read(count)) body.write(chunk);
  },
  write: (body, { text }) => body.write(bytes(text)),
  write_many(body, { text, times }) {
    for (let time = 0; time < times; time++) body.write(bytes(text));
  },
  drop(body) {
    for (const _ of body.read());
  },
  report(body) {
    const { chunks, bytes: read, calls } = body;
    body.write(bytes(json({ chunks, bytes: read, trailers: headers(body.reader.trailers()), calls })));
  },
  set_trailer: (body, { name, value }) => body.reader.trailers()?.set(name, bytes(value)),
  log: (_, { message }) => log.write("info", message),
  metadata_set: (_, { key, value }) => metadata.set(key, bytes(value)),
  write_metadata: (body, { policy, key }) => body.write(metadata.get(policy, key) ?? bytes("")),
  annotate: (_, { key, value }) => log.annotate(key, value),
  write_http(body, given) {
    const response = sent(given);
    body.write(typeof response === "string" ? bytes(response) : response.body);
  },
  // JavaScript cannot stop at once: what nobody catches ends the call.
  trap() {
    throw new Error("a trap");
  },
};
