"""A network that fails on demand: a TCP proxy, on the loopback, in front of any HTTP server.

It decides which fault applies to a request. `faulty_connection` carries it out on the socket, so
that a client gets the real thing: a reset, no answer, half an answer. It never interprets a
request; failures inside the service are the emulator's.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .emulator import Rule
from .faulty_connection import FaultyConnection, NetworkFault, let_peers_read, read_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import Self

__all__ = ["FaultProxy"]

_HOST = "127.0.0.1"
_BACKLOG = 1024


class FaultProxy:
    """A TCP proxy that passes HTTP/1.1 on unchanged, except where a rule applies.

    ```python
    async with FaultProxy(emulator.url) as proxy:
        proxy.fail(NetworkFault.reset_answer(), when=lambda method, _: method == "POST", times=1)
        ...  # a client of proxy.url
    ```

    It works on a `VirtualTimeLoop`, and on every other loop that has `add_reader`. It supports
    neither TLS, nor pipelining, nor `Expect: 100-continue`.
    """

    def __init__(self, upstream_url: str) -> None:
        """Make a proxy; `async with` makes it listen.

        Args:
            upstream_url: The server's scheme and host, and its path if it has one, such as an
                emulator's `url`.

        Raises:
            ValueError: It is not the URL of a server without TLS.
        """
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"The server needs a URL that begins with http://, not {upstream_url}")
        self._upstream = parts.hostname, parts.port or 80
        self._path = parts.path.rstrip("/")
        self._rules: list[Rule[NetworkFault]] = []
        self._connections: set[FaultyConnection] = set()
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The URL to use in place of the server's; empty before the start."""
        return f"http://{_HOST}:{self._port}{self._path}" if self._port else ""

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._listen()

    def _listen(self) -> None:
        """Listen, on the same port as before if there was one.

        It is no `asyncio.Server`, which leaves a connection open that it accepts as it closes.
        """
        self._listener = socket.create_server((_HOST, self._port), backlog=_BACKLOG)
        self._listener.settimeout(0)
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):  # the client may have left
            connection = FaultyConnection(listener.accept()[0])
            self._connections.add(connection)
            connection.start(self._serve, self._connections.discard)

    async def aclose(self) -> None:
        """Stop listening, and reset all connections, also those that hang; may be called twice."""
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
    ) -> Rule[NetworkFault]:
        """Let requests fail from now on, also those on connections that are kept alive.

        Args:
            fault: The fault. If several rules match, only the first that was made applies.
            when: Takes the method and the target (path and query, as sent); the rule matches
                requests for which it returns True. None: all.
            times: The number of requests that get the fault. None: all.
            skip: The number of matching requests that pass before.

        Returns:
            The rule, which counts its `hits` and can be removed.

        Raises:
            ValueError: `when` is given for connections, which have no request yet.
        """
        if when is not None and fault.kind == "reset_on_accept":
            raise ValueError("reset_on_accept applies before there is a request: leave out when.")

        def matches(request: tuple[str, str] | None) -> bool:
            if request is None or fault.kind == "reset_on_accept":
                return request is None and fault.kind == "reset_on_accept"
            return when is None or when(*request)

        rule = Rule(fault, matches, times, skip)
        self._rules.append(rule)
        return rule

    @asynccontextmanager
    async def refusing(self) -> AsyncGenerator[None]:
        """Be down in the body: reset all connections, and refuse new ones.

        It is no rule, because the operating system refuses connections without counting them.
        """
        await self.aclose()
        try:
            yield
        finally:
            self._listen()

    async def drop_connections(self) -> None:
        """Reset all connections, including idle ones; new ones are accepted."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        tasks = [connection.task for connection in connections]
        await asyncio.gather(*tasks, return_exceptions=True)
        await let_peers_read()

    def _fault_for(self, request: tuple[str, str] | None) -> NetworkFault | None:
        return next((rule.fault for rule in self._rules if rule.applies_to(request)), None)

    async def _serve(self, client: FaultyConnection) -> None:
        """Pass requests on, except those that a fault keeps from the server."""
        if self._fault_for(None) is not None:
            raise ConnectionResetError
        reader, server = await asyncio.open_connection(*self._upstream)
        answers = asyncio.create_task(client.pass_on(reader), name="FaultProxy answers")
        try:
            while True:
                request = await read_request(client.reader)
                method, target = request.decode("latin-1").split(" ", 2)[:2]
                if client.passes_request(self._fault_for((method, target))):
                    server.write(request)
                    await server.drain()
        finally:
            server.transport.abort()
            answers.cancel()
            await asyncio.wait([answers])
