"""The ways in which a real service may differ from the documented one.

Values alone: each field of `Dialect` is one difference, and its default is the documented service.
They are carried out by `dialect_answers`, `paging`, `web_server` and `call`, never here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import attrs
from attrs.validators import ge, gt, optional

from .answers import JSON_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["ODD_FIELDS", "Dialect"]

Paging: TypeAlias = Literal["link", "cursor", "next_link", "has_more", "total"]
Case: TypeAlias = Literal["lower", "title", "upper"]
DispatchShape: TypeAlias = Literal["flat", "data", "kind"]
Times: TypeAlias = Literal[
    "seconds",
    "seven_digits",
    "offset",
    "no_zone",
    "epoch_seconds",
    "epoch_milliseconds",
    "date_call",
    "empty",
]
Errors: TypeAlias = Literal["code", "problem", "iis", "nginx", "nested", "text", "capitalized"]
RateLimitAnswer: TypeAlias = Literal["429", "403_retry_after", "403_code"]
AssumedRoutes: TypeAlias = Literal["present", "404", "405"]
Unrouted: TypeAlias = Literal["empty", "iis", "nginx"]
Login: TypeAlias = Literal["page", "redirect"]

ODD_FIELDS = frozenset({"durationMs", "error", "log", "runnerStarted", "size", "summary"})
"""The optional fields that `Dialect.odd_fields` may name."""


def _one_of(*allowed: object) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """Return a validator; that of attrs does not say it in one sentence."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in allowed:
            words = ", ".join(map(repr, allowed))
            raise ValueError(f"{field.name} must be one of {words}, not {value!r}.")

    return check


def _copied(words: Mapping[str, str]) -> Mapping[str, str]:
    return dict(words)


def _unique(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _known_fields(_: object, __: attrs.Attribute[Any], names: frozenset[str]) -> None:
    if unknown := sorted(names - ODD_FIELDS):
        raise ValueError(f"odd_fields can't name {unknown}: choose from {sorted(ODD_FIELDS)}.")


def _absolute(_: object, __: attrs.Attribute[Any], prefix: str) -> None:
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ValueError(f"path_prefix begins with a slash and ends without one, not {prefix!r}.")


@attrs.frozen(kw_only=True)
class Dialect:
    """How an emulated service differs from the documented one; the defaults do not.

    The fields can be combined. `DIALECTS` has one for each difference that is likely.

    ```python
    async with Emulator(scenario=Scenario(dialect=Dialect(case="upper", paging="link"))): ...
    ```

    Raises:
        ValueError: A field has a value that it does not know.
    """

    paging: Paging | None = attrs.field(default=None, validator=_one_of(None, *get_args(Paging)))
    """How lists are paged. None: each is one bare array.

    - `link`: bare arrays, with a header `Link: <URL>; rel="next"`;
    - `cursor`: `{"items": […], "nextCursor": "…"}`, to be sent back as `?cursor=`;
    - `next_link`: `{"value": […], "nextLink": "<URL>"}`;
    - `has_more`: `{"items": […], "hasMore": true}`: the next page can't be asked for;
    - `total`: `{"items": […], "total": 57}`: nor can it here.

    On the last page the cursor or link is null, or the header absent.
    """
    page_size: int = attrs.field(default=20, validator=ge(1))
    """Most rows of a page, also where a larger `limit` is asked for; without `paging` it has no
    effect.
    """
    oldest_first: bool = False
    """True if runs are listed in the order of their dispatch, so that a `limit` cuts the newest."""
    refuses_limit: bool = False
    """True if the query parameter `limit` is answered with 400."""

    case: Case = attrs.field(default="lower", validator=_one_of(*get_args(Case)))
    """How statuses, conclusions, kinds and sources are spelled: `passed` and `in_progress`;
    `Passed` and `InProgress` (`title`); `PASSED` and `IN_PROGRESS` (`upper`).
    """
    words: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_copied)
    """Other words for documented statuses and conclusions, such as `{"passed": "ready"}`; `case`
    applies to them too. The statuses of single tests stay.
    """
    shows_end: bool = True
    """False if a finished operation says so by its status alone: `finishedUtc` and
    `overallConclusion` stay null.
    """

    ids_as_text: bool = False
    """True if the ids of features and runs are strings of digits."""
    request_id_as_number: bool = False
    """True if `requestId` is a number: the first 48 bits of the documented one."""

    dispatch_shape: DispatchShape = attrs.field(
        default="flat", validator=_one_of(*get_args(DispatchShape))
    )
    """Where the answer to a dispatch has its ids: at the top; in `{"data": {…}}`; or by `kind`, as
    `{"run": {"id": 214, …}}` and `{"generation": {"id": "…", …}}`.
    """
    dispatch_feature_id: bool = True
    """False if the answer to a dispatch has no `featureId`."""
    dispatch_status: Literal[200, 201, 202] = attrs.field(
        default=202, validator=_one_of(200, 201, 202)
    )
    """The status of the answer to a dispatch."""
    dispatch_lag: float = attrs.field(default=0.0, validator=ge(0))
    """Seconds after a dispatch during which the new run, or the status of the new generation, is
    answered with 404.
    """
    empty_mutations: bool = False
    """True if mutations are answered with 204 and no body, in place of 200 and `{"ok": true}`."""

    times: Times = attrs.field(default="seconds", validator=_one_of(*get_args(Times)))
    """How instants are written; 14:42:11 on 10 June 2026 is

    - `seconds`: `2026-06-10T14:42:11Z`;
    - `seven_digits`: `2026-06-10T14:42:11.1234567Z`;
    - `offset`: `2026-06-10T16:42:11+02:00`;
    - `no_zone`: `2026-06-10T14:42:11`, still UTC;
    - `epoch_seconds`, `epoch_milliseconds`: `1781102531`, `1781102531000`;
    - `date_call`: `/Date(1781102531000)/`;
    - `empty`: `""`, as is each that is null elsewhere.
    """
    odd_fields: frozenset[str] = attrs.field(
        default=frozenset[str](), converter=_unique, validator=_known_fields
    )
    """Optional fields of another type than the documented one; `ODD_FIELDS` names all.

    - `durationMs`: `"4210ms"`;
    - `error` of a test: `{"message": "…", "stack": […]}`;
    - `log`: a list of `{"level": "info", "text": "…"}`;
    - `runnerStarted`: `"true"`;
    - `size`: `"482133"`;
    - `summary`: its counts are strings.
    """

    errors: Errors = attrs.field(default="code", validator=_one_of(*get_args(Errors)))
    """The form of errors, at the documented status.

    - `code`: `{"error": "not_found", "message": "…"}`;
    - `problem`: `application/problem+json`, with `type`, `title`, `status` and `detail`;
    - `iis`, `nginx`: the page in HTML that these web servers print, without the message;
    - `nested`: `{"error": {"code": "not_found", "message": "…"}}`;
    - `text`: the message as one JSON string;
    - `capitalized`: `{"Error": "not_found", "Message": "…"}`.
    """
    rate_limit: float | None = attrs.field(default=None, validator=optional(gt(0)))
    """Requests a second that are served, up to that many at once, but at least one. None: any
    number.
    """
    rate_limit_answer: RateLimitAnswer = attrs.field(
        default="429", validator=_one_of(*get_args(RateLimitAnswer))
    )
    """The answer to one request too many, also to one that gets `Fault.status(429)`: 429; 403 with
    `Retry-After`; or 403 without, but with the code `rate_limited`.
    """

    requires_json_body: bool = False
    """True if a POST without a JSON body, or without its `Content-Type`, is answered with 415."""
    path_prefix: str = attrs.field(default="", validator=_absolute)
    """The path before `/api/v1/ops`, such as `/testvibe`; `Emulator.url` includes it."""
    decodes_slashes: bool = False
    """True if `%2F` is a slash to the routes, so that a name with a slash in it has none."""
    adds_slash: bool = False
    """True if a path without a slash at its end is redirected, by 308, to the one with it."""
    login: Login | None = attrs.field(default=None, validator=_one_of(None, *get_args(Login)))
    """How each request is sent to a login form: 200 and the page itself, or 302 to the page. None:
    no request is.
    """
    assumed_routes: AssumedRoutes = attrs.field(
        default="present", validator=_one_of(*get_args(AssumedRoutes))
    )
    """Whether the routes exist that are assumed, not documented; if not, the status they have."""
    unrouted: Unrouted = attrs.field(default="empty", validator=_one_of(*get_args(Unrouted)))
    """The body of such a 404 or 405, and of the 404 outside `path_prefix` or for a decoded slash:
    nothing, as of ASP.NET, or a page of IIS or nginx.
    """

    content_type: str = JSON_TYPE
    """The `Content-Type` of JSON, such as `text/plain`."""
    byte_order_mark: bool = False
    """True if JSON begins with a byte order mark."""
    gzip: bool = False
    """True if bodies are compressed for clients that accept it."""

    @property
    def cuts_lists(self) -> bool:
        """True if a list is cut as it is written, so that the operation has to return all rows."""
        return self.paging is not None or self.oldest_first

    @property
    def follows_cursors(self) -> bool:
        """True if the query parameter `cursor` asks for a later page."""
        return self.paging in {"link", "cursor", "next_link"}
