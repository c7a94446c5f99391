"""Tells what the server of grpc_server.py was sent, and what came with its answer."""

import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_unary("/test.Test/User")
answer, told = call.with_call(b"", timeout=20, metadata=(("x-user", "mallory"),))
served = dict(told.initial_metadata())["x-served"]
print(f"{answer.decode()}, {served}")
try:
    channel.unary_unary("/gone.Gone/Call")(b"", timeout=20)
    raise AssertionError("no error")
except grpc.RpcError as error:
    # Headers only: what would be trailers is all there is.
    told = dict(error.initial_metadata() or ()) | dict(error.trailing_metadata())
    print(f"{error.code().name}, {told['x-served']}")
