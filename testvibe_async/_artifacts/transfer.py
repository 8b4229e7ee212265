"""The transfer of one artifact: what an answer of the host means for the part that is there.

Decides when a download continues where it was cut off and when it starts over, and what is a whole
file. It never decides whether to try again; `download` does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testvibe_async.errors import (
    MalformedResponseError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    ServerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from testvibe_async._artifacts.host import Answer
    from testvibe_async._artifacts.part_file import PartFile

__all__ = ["REFUSALS", "Transfer"]

MAX_UNDECLARED_BYTES = 2 * 1024**3
"""The largest size of a file whose size the service does not say."""

REFUSALS = {401, 403, 404, 410}
"""The statuses with which hosts refuse a link that has expired."""

_OK, _PART, _NO_SUCH_PART = 200, 206, 416
_ERRORS: Mapping[int, type[ResponseError]] = {404: NotFoundError, 429: RateLimitedError}


class Transfer:
    """How far a file is."""

    def __init__(self, part: PartFile, declared_bytes: int | None) -> None:
        self.total_bytes = declared_bytes
        """The size of the whole file; None while neither the service nor the host has said it."""
        self._part = part
        self._declared_bytes = declared_bytes
        self._tag: str | None = None
        self._url: str | None = None
        """Where the part comes from: a tag identifies versions of one URL only."""

    @property
    def done_bytes(self) -> int:
        """How much of it is there."""
        return self._part.size_bytes

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that ask for what is missing, of a file without its link's query.

        A part can only go on where the host has named the file's version (RFC 9110, section
        13.1.5): else the rest might be another file's.
        """
        if not self.done_bytes or self._url != url or None in {self._tag, self.total_bytes}:
            return {}
        assert self._tag is not None
        return {"Range": f"bytes={self.done_bytes}-", "If-Range": self._tag}

    async def receive(self, answer: Answer, on_written: Callable[[], object]) -> None:
        """Take an answer in, to its end.

        Args:
            answer: What the host answered to a request with `headers()`.
            on_written: Called after each block.

        Raises:
            OutcomeUnknownError: It was cut off, or does not go on where the part ends.
            MalformedResponseError: The file has another size than it should have.
            ResponseError: It is no file.
            OSError: The disk is full, or the like.
        """
        await self._start(answer)
        most = MAX_UNDECLARED_BYTES if self.total_bytes is None else self.total_bytes
        while chunk := await answer.read():
            if self.done_bytes + len(chunk) > most:
                raise _wrong_size(answer, f"more than {most}")
            if await self._part.add(chunk):
                on_written()
        if self.total_bytes is not None and self.done_bytes != self.total_bytes:
            raise _wrong_size(answer, f"{self.done_bytes} in place of {self.total_bytes}")

    async def _start(self, answer: Answer) -> None:
        """Judge the head of an answer, and make the part fit."""
        if answer.status == _OK:
            await self._start_over(answer)
        elif answer.status not in {_PART, _NO_SUCH_PART} or not self.done_bytes:
            raise _refusal(answer)
        elif not self._goes_on(answer):
            self._tag = None
            what = "the host did not go on where the download was cut off"
            raise OutcomeUnknownError(what, method="GET", url=answer.url)

    def _goes_on(self, answer: Answer) -> bool:
        last = (self.total_bytes or 0) - 1
        wanted = f"bytes {self.done_bytes}-{last}/{self.total_bytes}"
        is_same = answer.headers.get("ETag", self._tag) == self._tag
        return is_same and answer.headers.get("Content-Range") == wanted

    async def _start_over(self, answer: Answer) -> None:
        if self.done_bytes:
            await self._part.restart()
        length = answer.headers.get("Content-Length")
        sent_bytes = None if length is None else int(length)
        tag = answer.headers.get("ETag", "")
        self._url = answer.url
        self._tag = tag if re.fullmatch(r'"[!#-~]*"', tag) else None
        self.total_bytes = sent_bytes if self._declared_bytes is None else self._declared_bytes
        if sent_bytes not in {None, self.total_bytes}:
            raise _wrong_size(answer, f"{sent_bytes} in place of {self.total_bytes}")
        if self._declared_bytes is None and (sent_bytes or 0) > MAX_UNDECLARED_BYTES:
            raise _wrong_size(answer, f"{sent_bytes}, more than {MAX_UNDECLARED_BYTES}")


def _wrong_size(answer: Answer, sizes: str) -> MalformedResponseError:
    problem = f"the file has another size than it should have, in bytes: {sizes}"
    return MalformedResponseError((problem,), status=answer.status, method="GET", url=answer.url)


def _refusal(answer: Answer) -> ResponseError:
    """Name the error of an answer that is no file. Its body is not quoted: it may hold the link."""
    status = answer.status
    message = "the artifact's host gives no file"
    if status in REFUSALS:
        message = "the artifact's host refuses the link, and refused new ones"
    elif 300 <= status < 400:  # noqa: PLR2004 - what HTTP calls a redirection
        message = "the artifact's host redirects, and redirects are not followed"
    wish = answer.headers.get("Retry-After", "")
    return _ERRORS.get(status, ServerError if status >= 500 else ResponseError)(  # noqa: PLR2004
        message,
        status=status,
        method="GET",
        url=answer.url,
        retry_after=float(wish) if re.fullmatch(r"[0-9]{1,9}", wish) else None,
    )
