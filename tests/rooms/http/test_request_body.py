"""The body of a request is written once."""

import asyncio

import aiohttp
import pytest

from testvibe_async._http.request_body import RequestBody


class Writer:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        self.written.append(chunk)


async def test_it_is_written_without_anything_before() -> None:
    """A request that nobody wants to know of is written, once."""
    body, writer = RequestBody({"a": 1}), Writer()
    await body.write_with_length(writer, None)  # type: ignore[arg-type]
    with pytest.raises(aiohttp.ClientError, match="sent once"):
        await body.write_with_length(writer, None)  # type: ignore[arg-type]
    assert writer.written == [b'{"a": 1}']
    assert body.is_repeated


async def test_nothing_is_written_once_the_request_is_over() -> None:
    """A request that was given up while it was being prepared is not written."""
    body = RequestBody({}, lambda: asyncio.sleep(1))
    body.end()
    with pytest.raises(aiohttp.ClientError, match="is over"):
        await body.write_with_length(Writer(), None)  # type: ignore[arg-type]
    assert not body.is_written


@pytest.mark.parametrize("is_text", [True, False])
async def test_bytes_that_somebody_takes_may_be_sent(*, is_text: bool) -> None:
    """Who has the bytes can send them in a request of another making."""
    body = RequestBody({"a": 1})
    assert (body.decode() if is_text else await body.as_bytes()) in {'{"a": 1}', b'{"a": 1}'}
    assert body.may_be_sent(ValueError())
