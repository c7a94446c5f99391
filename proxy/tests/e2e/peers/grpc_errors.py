"""Calls that the proxy itself answers: what gRPC's own client makes of that."""

import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])


def outcome(method, timeout=20):
    call = channel.unary_unary(method)
    try:
        call(b"", timeout=timeout)
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


print(outcome("/nowhere.Nowhere/Call"))
print(outcome("/gone.Gone/Call"))
print(outcome("/slow.Slow/Call"))
