"""Does what its configuration says at every stage, and reports what it sees.

It takes the configuration of `conformance/probe`, and its reports are alike: tests run both.

    {"pre_route": [{"report": {"to": "header"}}, {"set_header": {"name": "x-a", "value": "1"}}],
     "response_body": [{"write": {"text": "<"}}, {"upper": {}}, {"write": {"text": ">"}}]}

What an action gives ("ok", "forbidden", a value read) is in the next report, in `results`.
"""

import json

from componentize_py_types import Err
from wit_world.imports import config
from wit_world.imports.types import Decision_Continue, Outcome_Continue

import action
import bodies
from act import Acting
from report import Place

# How many stages this instance has seen.
calls = 0


def run(stage, place):
    """What the actions of a stage decide; none if it goes on."""
    global calls
    calls += 1
    return Acting(place, calls).run(json.loads(config.get()).get(stage, []))


def transform(stage, reader, writer):
    """Writes what the actions make of a body."""
    global calls
    calls += 1
    bodies.Passing(reader, writer, calls).run(json.loads(config.get()).get(stage, []))


class PreRoute:
    """Before a route is chosen."""

    def handle(self, request):
        return run("pre_route", Place("pre-route", request)) or Decision_Continue()


class PreUpstream:
    """Before the request is sent."""

    def handle(self, request, upstream, body):
        place = Place("pre-upstream", request, upstream=upstream, body=body)
        return run("pre_upstream", place) or Decision_Continue()


class PostResponse:
    """Once there is a response."""

    def handle(self, request, response, exchange, body):
        place = Place("post-response", request, response=response, exchange=exchange, body=body)
        return run("post_response", place) or Outcome_Continue()


class RequestBody:
    """While the request's body passes."""

    def transform(self, reader, writer):
        transform("request_body", reader, writer)


class ResponseBody:
    """While the response's body passes."""

    def transform(self, reader, writer):
        transform("response_body", reader, writer)


class Configuration:
    """What the policy takes as its configuration."""

    def validate(self, config):
        found = action.faults(json.loads(config))
        if found:
            raise Err(found)
