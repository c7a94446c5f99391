"""Does what the actions of a stage say: `do_NAME` gives a result, `flow_NAME` a decision or none."""

import json
import os

from componentize_py_types import Err
from wit_world.imports import clock, config, http_client, key_value, log, metadata, metrics, random
from wit_world.imports.http_client import (
    OutgoingRequest,
    SendError_Failed,
    SendError_Forbidden,
    SendError_Invalid,
    SendError_Timeout,
    SendError_TooLarge,
)
from wit_world.imports.key_value import SetError
from wit_world.imports.types import (
    ChangeError_Forbidden,
    ChangeError_Invalid,
    ChangeError_ReadOnly,
    ChangeError_TooLarge,
    Decision_Reroute,
    Decision_Respond,
    LocalResponse,
    Outcome_Respond,
    RetryOn,
    RoutingHint,
)

import report

NOTHING = "nothing to act on"
CHANGE_ERRORS = {
    ChangeError_Invalid: "invalid",
    ChangeError_Forbidden: "forbidden",
    ChangeError_TooLarge: "too-large",
    ChangeError_ReadOnly: "read-only",
}
SEND_ERRORS = {
    SendError_Forbidden: "forbidden",
    SendError_Invalid: "invalid",
    SendError_Timeout: "timeout",
    SendError_Failed: "failed",
    SendError_TooLarge: "too-large",
}
RETRY_ON = {
    "connect-failure": RetryOn.CONNECT_FAILURE,
    "reset": RetryOn.RESET,
    "gateway-error": RetryOn.GATEWAY_ERROR,
}


def changed(thing, change):
    """What a change of something comes to."""
    if thing is None:
        return NOTHING
    try:
        change(thing)
    except Err as error:
        return CHANGE_ERRORS[type(error.value)]
    return "ok"


def stored(write):
    """The version of what was written, or why it was not."""
    try:
        return write()
    except Err as error:
        return {SetError.TOO_LARGE: "too-large", SetError.CHANGED: "changed"}[error.value]


def sent(cluster, path, method="GET", authority=None, headers=(), body=b"", timeout=None):
    """The response to a request of its own and none, or none and why there is none."""
    headers = [(name, value.encode()) for name, value in headers]
    try:
        return http_client.send(OutgoingRequest(cluster, method, path, authority, headers, body, timeout)), None
    except Err as error:
        why = SEND_ERRORS[type(error.value)]
        if isinstance(error.value, (SendError_Invalid, SendError_Failed)):
            why += ": " + error.value.value
        return None, why


def text(value):
    """Bytes as text; none where they are none."""
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None


def pairs(given):
    return [(name, value) for name, value in given]


class Acting:
    """A stage at work, the instance's so-manieth."""

    def __init__(self, place, calls):
        self.place = place
        self.calls = calls
        # What the actions so far have given.
        self.results = []

    def run(self, actions):
        """Does these. Behind one that decides none is done."""
        for action in actions:
            ((name, given),) = action.items()
            flow = getattr(self, "flow_" + name, None)
            if flow is None:
                self.results.append(getattr(self, "do_" + name)(**given))
                continue
            decision = flow(**given)
            if decision is not None:
                return decision
        return None

    def fields(self, of):
        """The fields to act on, where there are any."""
        if of == "trailers":
            return self.place.body.trailers() if self.place.body else None
        if of == "stage" and self.place.response:
            return self.place.response.headers()
        return self.place.request.headers()

    def answer(self, status, headers, body):
        respond = Outcome_Respond if self.place.response else Decision_Respond
        return respond(LocalResponse(status, [(name, value.encode()) for name, value in headers], body))

    def flow_report(self, to):
        said = json.dumps(report.of(self.place, self.calls, self.results))
        if to == "header":
            self.fields("stage").set("x-probe-" + self.place.name, said.encode())
        elif to == "metadata":
            metadata.set(self.place.name, said.encode())
        elif to == "log":
            log.write(log.Level.INFO, said)
        elif to == "body" and self.place.body:
            self.place.body.replace(said.encode())
        elif to == "answer":
            return self.answer(200, [("content-type", "application/json")], said.encode())
        return None

    # `is` is a word of Python's.
    def flow_when(self, header, then, **more):
        value = text(self.place.request.headers().get(header))
        wanted = more.get("is")
        holds = value is not None if wanted is None else value == wanted
        return self.run(then) if holds else None

    def flow_from_header(self, name):
        said = text(self.place.request.headers().get(name))
        return self.run(json.loads(said)) if said is not None else None

    def flow_reroute(self, route=None, cluster=None, tags=()):
        if self.place.response:
            raise RuntimeError("a response cannot be routed")
        return Decision_Reroute(RoutingHint(route, cluster, pairs(tags)))

    def flow_respond(self, status, headers=(), body=""):
        return self.answer(status, headers, body.encode())

    def flow_trap(self):
        os.abort()

    # What nobody catches ends the call.
    def flow_fail(self, message):
        log.write(log.Level.ERROR, message)
        raise RuntimeError(message)

    def do_set_header(self, name, value, of="stage"):
        return changed(self.fields(of), lambda fields: fields.set(name, value.encode()))

    def do_set_header_bytes(self, name, value, of="stage"):
        return changed(self.fields(of), lambda fields: fields.set(name, bytes(value)))

    def do_set_all_header(self, name, values, of="stage"):
        values = [value.encode() for value in values]
        return changed(self.fields(of), lambda fields: fields.set_all(name, values))

    def do_append_header(self, name, value, of="stage"):
        return changed(self.fields(of), lambda fields: fields.append(name, value.encode()))

    def do_delete_header(self, name, of="stage"):
        return changed(self.fields(of), lambda fields: fields.delete(name))

    def do_get_header(self, name, of="stage"):
        fields = self.fields(of)
        return text(fields.get(name)) if fields else NOTHING

    def do_get_all_header(self, name, of="stage"):
        fields = self.fields(of)
        if not fields:
            return NOTHING
        return [value for value in map(text, fields.get_all(name)) if value is not None]

    def do_set_method(self, method):
        return changed(self.place.request, lambda request: request.set_method(method))

    def do_set_authority(self, authority):
        return changed(self.place.request, lambda request: request.set_authority(authority))

    def do_set_path(self, path):
        return changed(self.place.request, lambda request: request.set_path(path))

    def do_set_query(self, query=None):
        return changed(self.place.request, lambda request: request.set_query(query))

    def do_set_status(self, status):
        return changed(self.place.response, lambda response: response.set_status(status))

    def do_set_upstream_authority(self, authority):
        return changed(self.place.upstream, lambda upstream: upstream.set_authority(authority))

    def do_set_timeout(self, milliseconds):
        return changed(self.place.upstream, lambda upstream: upstream.set_timeout(milliseconds))

    def do_set_retries(self, count, on):
        reasons = RetryOn(0)
        for name in on:
            reasons |= RETRY_ON.get(name, RetryOn(0))
        return changed(self.place.upstream, lambda upstream: upstream.set_retries(count, reasons))

    def do_replace_body(self, text):
        return changed(self.place.body, lambda body: body.replace(text.encode()))

    def do_append_body(self, text):
        return changed(self.place.body, lambda body: body.replace(body.bytes() + text.encode()))

    def do_upper_body(self):
        return changed(self.place.body, lambda body: body.replace(body.bytes().upper()))

    def do_metadata_set(self, key, value):
        return metadata.set(key, value.encode())

    def do_metadata_get(self, policy, key):
        return text(metadata.get(policy, key))

    def do_metadata_delete(self, key):
        return metadata.delete(key)

    def do_key_value_get(self, key):
        entry = key_value.get(key)
        return entry and {"value": entry.value.decode(errors="replace"), "version": entry.version}

    def do_key_value_set(self, key, value, ttl=None):
        return stored(lambda: key_value.set(key, value.encode(), ttl))

    def do_key_value_compare_and_set(self, key, value, expected=None, ttl=None):
        return stored(lambda: key_value.compare_and_set(key, expected, value.encode(), ttl))

    def do_key_value_delete(self, key):
        return key_value.delete(key)

    def do_log(self, level, message):
        log.write(log.Level[level.upper()], message)
        return "ok"

    def do_annotate(self, key, value):
        return log.annotate(key, value)

    def do_increment(self, name, by, labels=()):
        metrics.increment(name, pairs(labels), by)
        return "ok"

    def do_gauge(self, name, value, labels=()):
        metrics.set(name, pairs(labels), value)
        return "ok"

    def do_observe(self, name, value, labels=()):
        metrics.observe(name, pairs(labels), value)
        return "ok"

    def do_http(self, body="", **given):
        response, why = sent(body=body.encode(), **given)
        if response is None:
            return why
        return {
            "status": response.status,
            "headers": report.pairs(response.headers),
            "body": response.body.decode(errors="replace"),
        }

    def do_policy_name(self):
        return config.policy()

    def do_random(self, length):
        return random.bytes(length).hex()

    def do_clock(self):
        return {"now": report.nanoseconds(clock.now()), "monotonic": clock.monotonic()}
