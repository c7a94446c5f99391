"""Everything a stage sees, as JSON."""

from dataclasses import dataclass
from typing import Optional

from wit_world.imports.types import Buffer, Exchange, Request, Response, Upstream


@dataclass
class Place:
    """A stage, with what it is given."""

    name: str
    request: Request
    upstream: Optional[Upstream] = None
    response: Optional[Response] = None
    exchange: Optional[Exchange] = None
    body: Optional[Buffer] = None


def of(place, calls, results):
    """What a stage sees, with how many stages its instance has seen and what was done so far."""
    said = {"stage": place.name, "calls": calls, "request": request(place.request)}
    if place.upstream:
        said["upstream"] = {
            "route": place.upstream.route(),
            "labels": place.upstream.labels(),
            "cluster": place.upstream.cluster(),
            "authority": place.upstream.authority(),
            "path_with_query": place.upstream.path_with_query(),
        }
    if place.response:
        said["response"] = {"status": place.response.status(), "headers": headers(place.response.headers())}
        said["exchange"] = vars(place.exchange)
    if place.body:
        trailers = place.body.trailers()
        said["body"] = {
            "size": place.body.size(),
            "text": place.body.bytes().decode(errors="replace"),
            "trailers": headers(trailers) if trailers else None,
        }
    said["results"] = results
    return said


def request(request):
    client = request.client()
    return {
        "id": request.id(),
        "trace_id": request.trace_id(),
        "received": nanoseconds(request.received()),
        "client": {**vars(client), "protocol": client.protocol.name.lower()},
        "tls": tls(request.tls()),
        "method": request.method(),
        "scheme": request.scheme(),
        "authority": request.authority(),
        "path": request.path(),
        "query": request.query(),
        "headers": headers(request.headers()),
    }


def tls(tls):
    if tls is None:
        return None
    return {**vars(tls), "certificate": vars(tls.certificate) if tls.certificate else None}


def nanoseconds(moment):
    """Since 1970."""
    return moment.seconds * 1_000_000_000 + moment.nanoseconds


def headers(fields):
    """Fields as pairs, with what is not UTF-8 replaced. Reports are left out: each would hold the last."""
    return pairs((name, value) for name, value in fields.entries() if not name.startswith("x-probe-"))


def pairs(fields):
    """The same of fields that are pairs."""
    return [[name, value.decode(errors="replace")] for name, value in fields]
