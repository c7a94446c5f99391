"""Calls the server of grpc_server.py in every way there is."""

import queue
import sys

import grpc

options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
channel = grpc.insecure_channel(sys.argv[1], options=options)

# One answer for one message, small and large, with trailers; many at once.
echo = channel.unary_unary("/test.Test/Echo")
answer, call = echo.with_call(b"hello", timeout=20)
assert answer == b"hello", answer
assert ("x-trailer", "here") in [(t.key, t.value) for t in call.trailing_metadata()]
large = bytes(range(256)) * 20_000
assert echo(large, timeout=20) == large
calls = [echo.future(str(n).encode(), timeout=20) for n in range(300)]
assert [call.result() for call in calls] == [str(n).encode() for n in range(300)]

# Both directions at once: each message is answered before the next is sent.
messages = queue.SimpleQueue()
answers = channel.stream_stream("/test.Test/Chat")(iter(messages.get, None), timeout=20)
for n in range(50):
    message = str(n).encode()
    messages.put(message)
    assert next(answers) == b"re: " + message
messages.put(None)
assert next(answers, None) is None

# An error is the server's own, in its words.
try:
    channel.unary_unary("/test.Test/Fail")(b"", timeout=20)
    raise AssertionError("no error")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "not näw", error

# A call that is cancelled here is cancelled there.
hanging = channel.unary_stream("/test.Test/Hang")(b"", timeout=20)
assert next(hanging) == b"begun"
hanging.cancel()
assert channel.unary_unary("/test.Test/WasCancelled")(b"", timeout=20) == b"yes"
print("all was answered")
