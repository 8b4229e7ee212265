"""Recordings: what a service answered, with synthetic values, and a middleware that replays it.

A recording is made by `testvibe-async doctor --record`. It decides which recorded answer a request
gets: the answer at the same point of the recording. The recording advances by the clock, and by
each POST, which is answered as often as it was recorded. Instants advance with it, so that what a
client dispatches now was created now.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timedelta
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import attrs

from .answers import Answer, Refusal
from .api import Middleware

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .requests import RecordedRequest

VERSION = 1
_API = "/api/v1/ops"
_INSTANT = re.compile(
    r"(?P<iso>\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)|/Date\((?P<call>\d+)"
    r"|(?<=[:\[,\s])(?P<epoch>1[6-9]\d{8})(?P<fraction>\d{3})?(?=\s*[,\]}])"
)
_OF_FEATURE = r'"featureId":\s*"?(\d+)"?,\s*"featureName":\s*"([^"]+)"'
_YEAR_OF_NOTHING = "0001"
_NOT_FOUND = 404


@attrs.frozen(kw_only=True)
class RecordedExchange:
    """One request, and its answer."""

    at: float
    """Seconds from the start of the recording."""
    operation: str
    """The service's name of the operation."""
    method: str
    """The HTTP method."""
    path: str
    """Below `/api/v1/ops`, percent-encoded."""
    query: Mapping[str, str]
    """The parameters of the query."""
    body: str | None
    """The body of the request; None without one."""
    status: int
    """The HTTP status of the answer."""
    headers: Mapping[str, str]
    """The headers of the answer."""
    skew: int | None
    """Seconds by which the answer's date was ahead; None if it had none."""
    answer: str
    """The body of the answer."""


@attrs.frozen
class Recording:
    """The exchanges with one service, in order.

    For example::

        recording = Recording.load(Path("tests/contract/recordings/shop.json"))
        async with Emulator(middleware=Replay(recording), **recording.options) as emulator: ...
    """

    exchanges: tuple[RecordedExchange, ...]
    """The exchanges, in order."""

    ORIGIN = "https://testvibe.example"
    """The placeholder of the service's scheme and host."""
    START = 1_767_225_600
    """The Unix time at which each recording begins."""

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            ValueError: It is none, or one of another version.
            OSError: It can't be read.
        """
        try:
            document: Any = json.loads(path.read_text("utf-8"))
            if document["recording"] == VERSION:
                return cls(tuple(RecordedExchange(**each) for each in document["exchanges"]))
        except (KeyError, TypeError):
            pass
        raise ValueError(f"{path} is no recording of version {VERSION}.")

    def save(self, path: Path) -> None:
        """Write a recording.

        Raises:
            OSError: It can't be written.
        """
        exchanges = [attrs.asdict(each) for each in self.exchanges]
        document = {"recording": VERSION, "exchanges": exchanges}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")

    @property
    def options(self) -> dict[str, Any]:
        """The options of the emulator that replays it: the project that was read, if any was."""
        paths = (each.path.split("/") for each in self.exchanges)
        project_id = next((unquote(path[2]) for path in paths if len(path) > 2), "none")  # noqa: PLR2004
        return {"shop": False, "project_id": project_id}

    @staticmethod
    def shift_times(text: str, seconds: int) -> str:
        """Move all instants in a JSON text; each keeps its form."""
        return _INSTANT.sub(lambda found: _moved(found, seconds), text) if seconds else text


class Replay(Middleware):
    """A middleware that answers in place of the service, as it was recorded."""

    def __init__(self, recording: Recording) -> None:
        """Create a replay, for one emulator."""
        self._exchanges = recording.exchanges
        self._ids = dict(_ids_by_name(recording.exchanges))
        self._calls = [(each.method, self._call(each.path)) for each in recording.exchanges]
        self._played: set[int] = set()
        self._start = int(time.time())
        """The Unix time of the emulator's start."""
        self._lead = 0.0
        """Seconds by which the story is ahead of the emulator's clock."""
        self._end = next(self._posts(-1), None)
        """The first POST that has not happened yet; what was answered after it can't be shown."""

    def _call(self, path: str) -> tuple[str, ...]:
        """Return the parts of a path, with the id of a feature in place of its name."""
        parts = [unquote(part).casefold() for part in path.rstrip("/").split("/")]
        return tuple(self._ids.get(part, part) for part in parts)

    def _posts(self, after: int) -> Iterator[int]:
        return (
            index
            for index, each in enumerate(self._exchanges)
            if index > after and each.method != "GET"
        )

    def before(self, request: RecordedRequest) -> Answer:
        """Answer as the service did."""
        call = request.method, self._call(request.path.removeprefix(_API))
        asked = [index for index, each in enumerate(self._calls) if each == call]
        if not asked:
            return self._refused(request)
        if request.method == "GET":
            return self._written(self._read(asked, request), request)
        index = next((i for i in asked if i not in self._played), asked[-1])
        self._played.add(index)
        self._lead = self._exchanges[index].at - request.at
        self._end = next(self._posts(index), None)
        return self._written(self._exchanges[index], request)

    def _refused(self, request: RecordedRequest) -> Answer:
        """Answer as the service did for a missing resource, if that was recorded."""
        for each in self._exchanges:
            if (each.operation, each.status) == (request.operation, _NOT_FOUND):
                return self._written(each, request)
        return Refusal(404, "Nothing of this was recorded.").answer()

    def _read(self, asked: list[int], request: RecordedRequest) -> RecordedExchange:
        """Choose the latest answer until now, to the most similar query."""
        wanted = request.query.items()

        def likeness(index: int) -> int:
            query = self._exchanges[index].query.items()
            return len(query & wanted) - len(query ^ wanted)

        best = max(map(likeness, asked))
        alike = [i for i in asked if likeness(i) == best]
        shown = [i for i in alike if self._end is None or i < self._end] or alike[:1]
        now = request.at + self._lead
        past = [i for i in shown if self._exchanges[i].at <= now]
        return self._exchanges[past[-1] if past else shown[0]]

    def _written(self, exchange: RecordedExchange, request: RecordedRequest) -> Answer:
        host = f"http://{request.headers['Host']}"
        headers = {
            name: value.replace(Recording.ORIGIN, host)
            for name, value in exchange.headers.items()
            if name not in {"Content-Type", "Content-Encoding"}
        }
        if exchange.skew is not None:
            headers["Date"] = formatdate(self._start + request.at + exchange.skew, usegmt=True)
        shift = self._start - Recording.START - round(self._lead)
        text = Recording.shift_times(exchange.answer.replace(Recording.ORIGIN, host), shift)
        body = text.encode("utf-8", "surrogatepass")
        content_type = exchange.headers.get("Content-Type", "")
        return Answer(exchange.status, body, content_type, headers)


def _ids_by_name(exchanges: tuple[RecordedExchange, ...]) -> Iterator[tuple[str, str]]:
    """Find the ids of the features that answers name, for a path may have either."""
    for each in exchanges:
        for pattern in (r'"id":\s*"?(\d+)"?,\s*"name":\s*"([^"]+)"', _OF_FEATURE):
            for number, name in re.findall(pattern, each.answer):
                yield name.casefold(), number


def _moved(found: re.Match[str], seconds: int) -> str:
    if found["iso"] is not None:
        if found["iso"].startswith(_YEAR_OF_NOTHING):
            return found[0]
        try:
            moved = datetime.fromisoformat(found["iso"]) + timedelta(seconds=seconds)
        except (ValueError, OverflowError):  # No such day, or no day can be that late.
            return found[0]
        return moved.isoformat()
    if found["call"] is not None:
        return f"/Date({int(found['call']) + 1000 * seconds}"
    return f"{int(found['epoch']) + seconds}{found['fraction'] or ''}"
