"""The wire format: the service's endpoints, and the conversion of requests and answers.

Pure: no clock and no I/O. Exported for other packages: the endpoints, requests and responses, the
conversion of values to and from JSON, and the contract as a document.
"""

from testvibe_async._core.util.serialization import serialize
from testvibe_async._core.wire.convert import read
from testvibe_async._core.wire.endpoints import (
    Endpoint,
    Endpoints,
    Request,
    custom_request,
    endpoint_overrides,
    openapi_document,
)
from testvibe_async._core.wire.extra import EXTRA, UnreadableField
from testvibe_async._core.wire.kinds import GENERATION, KINDS, RUN, Kind
from testvibe_async._core.wire.paging import next_page
from testvibe_async._core.wire.protocol import (
    MAX_ERROR_BYTES,
    REDACTED,
    SUCCESS,
    Redactor,
    Response,
    decode,
    incomplete,
    is_clear_refusal,
    is_from_cache,
    malformed,
    parse_date,
    raise_for_status,
    require_uncached,
    retry_after,
    shows_acceptance,
    too_large,
)
from testvibe_async._core.wire.scalars import read_instant, read_integer, says_in_flight
from testvibe_async._core.wire.values import Rows, UnreadableError

__all__ = [
    "EXTRA",
    "GENERATION",
    "KINDS",
    "MAX_ERROR_BYTES",
    "REDACTED",
    "RUN",
    "SUCCESS",
    "Endpoint",
    "Endpoints",
    "Kind",
    "Redactor",
    "Request",
    "Response",
    "Rows",
    "UnreadableError",
    "UnreadableField",
    "custom_request",
    "decode",
    "endpoint_overrides",
    "incomplete",
    "is_clear_refusal",
    "is_from_cache",
    "malformed",
    "next_page",
    "openapi_document",
    "parse_date",
    "raise_for_status",
    "read",
    "read_instant",
    "read_integer",
    "require_uncached",
    "retry_after",
    "says_in_flight",
    "serialize",
    "shows_acceptance",
    "too_large",
]
