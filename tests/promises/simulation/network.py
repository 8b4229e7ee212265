"""HTTP without sockets: what an aiohttp session needs to send over the simulated network."""

import asyncio
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class InMemoryConnector(aiohttp.TCPConnector):
    """A connector that asks the event loop for connections, where aiohttp's makes sockets first."""

    async def _wrap_create_connection(
        self, *args: Any, addr_infos: list[Any], **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        host, port = addr_infos[0][4][:2]
        for name in ("ssl", "server_hostname"):
            del kwargs[name]
        return await self._wrap_existing_connection(*args, host=host, port=port, **kwargs)
