"""Lets each tenant make so many requests in a time; what is more is answered with 429.

    {"header": "x-tenant", "limit": 100, "window_seconds": 60}

`header` names the tenant; a request without it is answered with 400. `window_seconds` can be left
out and is 60 then. The windows are the same for all tenants and are counted by each proxy for
itself. Stage: PRE_ROUTE.
"""

import json

from componentize_py_types import Err
from wit_world.exports.configuration import Fault
from wit_world.imports import clock, config, key_value
from wit_world.imports.key_value import SetError
from wit_world.imports.types import Decision_Continue, Decision_Respond, LocalResponse

FIELDS = {"header", "limit", "window_seconds"}
TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
# How often a count is tried again that another request has changed meanwhile.
TRIES = 10
# A key in the store has to stay below its bound.
TENANT_MAX = 200


def whole(value, most):
    """Whether a value is a whole number from 1 on: True is none, though Python has it as 1."""
    return type(value) is int and 1 <= value <= most


def faults(settings):
    """What is wrong with a configuration."""
    if not isinstance(settings, dict):
        return [Fault("", "has to be an object")]
    found = [
        Fault("/" + name.replace("~", "~0").replace("/", "~1"), "is not known: there are header, limit and window_seconds")
        for name in settings
        if name not in FIELDS
    ]
    header = settings.get("header")
    if not isinstance(header, str) or not header or not set(header.lower()) <= TOKEN:
        found.append(Fault("/header", "has to be the name of a header field, such as x-tenant"))
    if not whole(settings.get("limit"), 1_000_000_000):
        found.append(Fault("/limit", "has to be a whole number from 1 to 1000000000"))
    if not whole(settings.get("window_seconds", 60), 86_400):
        found.append(Fault("/window_seconds", "has to be a whole number from 1 to 86400"))
    return found


def answer(status, text, *headers):
    """An answer in place of the upstream's."""
    fields = [("content-type", b"text/plain"), *headers]
    return Decision_Respond(LocalResponse(status, fields, text.encode()))


def count(key, limit, ttl):
    """Counts one more; true if it is within the limit."""
    for _ in range(TRIES):
        entry = key_value.get(key)
        so_far = int(entry.value) if entry else 0
        if so_far >= limit:
            return False
        try:
            key_value.compare_and_set(key, entry.version if entry else None, b"%d" % (so_far + 1), ttl)
            return True
        except Err as error:
            if error.value != SetError.CHANGED:
                raise RuntimeError("there is no room for another tenant") from error
    return False


class PreRoute:
    """Before a route is chosen."""

    def handle(self, request):
        settings = json.loads(config.get())
        value = request.headers().get(settings["header"])
        tenant = value.decode("latin-1").strip() if value else ""
        if not tenant or len(tenant) > TENANT_MAX // 2:
            return answer(400, f"{settings['header']} has to name a tenant\n")
        window = settings.get("window_seconds", 60)
        number, passed = divmod(clock.now().seconds, window)
        left = window - passed
        if count(f"{number} {tenant}", settings["limit"], left * 1000):
            return Decision_Continue()
        return answer(429, "too many requests\n", ("retry-after", b"%d" % left))


class Configuration:
    """What the policy takes as its configuration."""

    def validate(self, config):
        found = faults(json.loads(config))
        if found:
            raise Err(found)
