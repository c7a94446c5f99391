"""A gRPC server without generated code. Prints its port."""

import sys
import threading
from concurrent import futures

import grpc

cancelled = threading.Event()


def echo(request, context):
    context.set_trailing_metadata((("x-trailer", "here"),))
    return request


def chat(requests, context):
    for request in requests:
        yield b"re: " + request


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not näw")


def hang(request, context):
    context.add_callback(cancelled.set)
    yield b"begun"
    cancelled.wait()


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(20) else b"no"


def user(request, context):
    users = [value for name, value in context.invocation_metadata() if name == "x-user"]
    return " and ".join(users).encode()


methods = {
    "User": grpc.unary_unary_rpc_method_handler(user),
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_stream_rpc_method_handler(hang),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
}
server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=16),
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
