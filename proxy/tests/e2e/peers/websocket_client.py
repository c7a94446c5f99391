"""Talks to a WebSocket server that says everything back: small, large, both ways at once."""

import asyncio
import sys

from websockets.asyncio.client import connect


async def main(url):
    async with connect(url, subprotocols=["chat"], max_size=None) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        await socket.send("hello")
        assert await socket.recv() == "hello"
        large = bytes(range(256)) * 20_000
        sent = asyncio.gather(*(socket.send(large) for _ in range(3)))
        for _ in range(3):
            assert await socket.recv() == large
        await sent
        pong = await socket.ping()
        await pong
    assert socket.close_code == 1000, socket.close_code
    print("all was said back")


asyncio.run(main(sys.argv[1]))
