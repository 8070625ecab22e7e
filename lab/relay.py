"""`python -m lab.relay FD ADDRESS...`: forward connections from an inherited listening socket into this network.

The socket listens in the network in which it was made; the forwarded connections start in this process' network.
The relay ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence

PORT = 6443


async def relay(listener: socket.socket, addresses: Sequence[str]) -> None:
    """Forward each connection of `listener` to the first of `addresses` that accepts it."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await _first(addresses)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        writer.close()

    await asyncio.start_server(carry, sock=listener)
    await asyncio.to_thread(sys.stdin.buffer.read)


async def _first(addresses: Sequence[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for address in addresses:
        with contextlib.suppress(OSError, TimeoutError):
            return await asyncio.wait_for(asyncio.open_connection(address, PORT), 3)
    raise ConnectionRefusedError


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError):
            writer.write_eof()


if __name__ == "__main__":
    asyncio.run(relay(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]))
