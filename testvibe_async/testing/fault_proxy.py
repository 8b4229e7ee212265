"""A network that fails on demand: a TCP proxy, on the loopback, in front of any HTTP server.

It decides which requests a fault strikes. `faulty_connection` carries it out on the socket, so that
a client meets the real thing: a reset, a silence, half an answer. What a request means is none of
its business; what goes wrong inside the service is the emulator's.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .faulty_connection import FaultyConnection, let_peers_read, read_request
from .network_faults import NetworkFault, NetworkRule

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import Self

__all__ = ["FaultProxy"]

_HOST = "127.0.0.1"
_BACKLOG = 1024


class FaultProxy:
    """A TCP proxy that passes HTTP/1.1 on unchanged, but for what it was told to do to it.

    ```python
    async with FaultProxy(emulator.url) as proxy:
        proxy.fail(NetworkFault.reset_answer(), when=lambda method, _: method == "POST", times=1)
        ...  # a client of proxy.url
    ```

    It works on a `VirtualTimeLoop`, and on every other loop that has `add_reader`. It knows neither
    TLS, nor pipelining, nor `Expect: 100-continue`.
    """

    def __init__(self, upstream_url: str) -> None:
        """Make a proxy; `async with` makes it listen.

        Args:
            upstream_url: The server's scheme and host, such as an emulator's `url`.

        Raises:
            ValueError: It is not the URL of a server without TLS.
        """
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"The server needs a URL that begins with http://, not {upstream_url}")
        self._upstream = parts.hostname, parts.port or 80
        self._rules: list[NetworkRule] = []
        self._connections: set[FaultyConnection] = set()
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Scheme, host and port to use in place of the server's; empty before the start."""
        return f"http://{_HOST}:{self._port}" if self._port else ""

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._listen()

    def _listen(self) -> None:
        """Listen, on the same port as before if there was one.

        `asyncio.Server` would leave a connection open that it accepts just as it closes.
        """
        self._listener = socket.create_server((_HOST, self._port), backlog=_BACKLOG)
        self._listener.settimeout(0)
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):  # who knocked may have left
            connection = FaultyConnection(listener.accept()[0])
            self._connections.add(connection)
            connection.start(self._serve, self._connections.discard)

    async def aclose(self) -> None:
        """Stop listening, and reset all connections, also those that hang; twice is fine."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self.drop_connections()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        await self.aclose()

    def fail(
        self,
        fault: NetworkFault,
        *,
        when: Callable[[str, str], bool] | None = None,
        times: int | None = None,
        skip: int = 0,
    ) -> NetworkRule:
        """Let requests fail from now on, also those on connections that are kept alive.

        Args:
            fault: What happens to them. Of several rules the one that was made first strikes alone.
            when: Takes the method and the target (path and query, as sent); only requests for which
                it is true are struck. None: all.
            times: How many requests it strikes. None: all.
            skip: How many fitting requests pass before it strikes.

        Returns:
            The rule, which counts its `hits` and can be removed.

        Raises:
            ValueError: `when` is given for connections, which have no request yet.
        """
        if when is not None and fault.kind == "reset_on_accept":
            raise ValueError("reset_on_accept strikes before there is a request: leave out when.")
        rule = NetworkRule(fault=fault, times=times, skip=skip, when=when)
        self._rules.append(rule)
        return rule

    @asynccontextmanager
    async def refusing(self) -> AsyncGenerator[None]:
        """Be down meanwhile: connections are refused, and those that there were are reset.

        It is no rule: what the operating system refuses, nobody can count or choose.
        """
        await self.aclose()
        try:
            yield
        finally:
            self._listen()

    async def drop_connections(self) -> None:
        """Reset all connections, so that what clients keep alive is lost. New ones are welcome."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        tasks = [connection.task for connection in connections]
        await asyncio.gather(*tasks, return_exceptions=True)
        await let_peers_read()

    def _strike(self, request: tuple[str, str] | None) -> NetworkFault | None:
        return next((rule.fault for rule in self._rules if rule.strikes(request)), None)

    async def _serve(self, client: FaultyConnection) -> None:
        """Pass requests on, but for those that a fault keeps from the server."""
        if self._strike(None) is not None:
            raise ConnectionResetError
        reader, server = await asyncio.open_connection(*self._upstream)
        answers = asyncio.create_task(client.pass_on(reader), name="FaultProxy answers")
        try:
            while True:
                request = await read_request(client.reader)
                method, target = request.decode("latin-1").split(" ", 2)[:2]
                if client.must_ask(self._strike((method, target))):
                    server.write(request)
                    await server.drain()
        finally:
            server.transport.abort()
            answers.cancel()
            await asyncio.wait([answers])
