"""Checks that forbid more than the operations do: what the contract does not have in a request.

Pure. The operations ignore unknown members, as most services do; a client that sends one may have
misspelled it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import Refusal, invalid_request, json_object

if TYPE_CHECKING:
    from .dialect import Dialect
    from .requests import RecordedRequest

__all__ = ["check_body", "check_query", "require_json_body"]

_PARAMETERS = {
    "list_runs": frozenset({"feature", "limit"}),
    "read_file": frozenset({"path"}),
}
_MEMBERS = {
    "create_feature": frozenset({"name", "gherkin"}),
    "update_feature": frozenset({"name", "gherkin"}),
    "generate_feature": frozenset({"siteUrl"}),
    "run_feature": frozenset({"config", "siteUrl"}),
    "write_file": frozenset({"path", "content"}),
}
_NONE = frozenset[str]()


def require_json_body(request: RecordedRequest, *, status: int) -> None:
    """Refuse a POST without a JSON body.

    Args:
        request: The request.
        status: The status of the refusal.

    Raises:
        Refusal: The body is empty, or its `Content-Type` is another.
    """
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    has_json = bool(request.body) and content_type.casefold() == "application/json"
    if request.method == "POST" and not has_json:
        raise Refusal(status, "A POST needs a JSON body, with the Content-Type application/json.")


def check_query(request: RecordedRequest, operation: str, dialect: Dialect) -> None:
    """Refuse unknown query parameters.

    Raises:
        Refusal: 400; it names the first.
    """
    known = _PARAMETERS.get(operation, _NONE)
    if dialect.follows_cursors and operation.startswith("list_"):
        known |= {"cursor"}
    for name in request.query:
        if name not in known:
            raise invalid_request(f"The query parameter {name!r} is unknown.")


def check_body(request: RecordedRequest, operation: str) -> None:
    """Refuse unknown members of the body.

    Raises:
        Refusal: 400; it names the first.
    """
    known = _MEMBERS.get(operation, _NONE)
    for name in json_object(request.body) if request.body else ():
        if name not in known:
            raise invalid_request(f"The field {name!r} of the body is unknown.")
