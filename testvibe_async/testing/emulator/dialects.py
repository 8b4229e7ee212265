"""The dialects by name: one for each way in which a real service is likely to differ.

Values alone. A client that tolerates all of them has read the contract with care.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from .dialect import ODD_FIELDS, Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECTS"]

_END_WORDS = {
    "passed": "ready",
    "failed": "timed_out",
    "generated": "ready",
    "cancelled": "stopped",
    "success": "fine",
    "failure": "broken",
}

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        # Lists. A page of 5 rows, so that those of the shop have several.
        "paged-by-link": Dialect(paging="link", page_size=5),
        "paged-by-cursor": Dialect(paging="cursor", page_size=5),
        "paged-by-next-link": Dialect(paging="next_link", page_size=5),
        "cut-with-has-more": Dialect(paging="has_more", page_size=5),
        "cut-with-total": Dialect(paging="total", page_size=5),
        "oldest-first": Dialect(oldest_first=True),
        "limit-refused": Dialect(refuses_limit=True),
        # Words.
        "title-case": Dialect(case="title"),
        "upper-case": Dialect(case="upper"),
        "other-end-words": Dialect(words=_END_WORDS),
        "other-end-words-alone": Dialect(
            words={**_END_WORDS, "completed": "done"}, shows_end=False
        ),
        # Ids, and the answer to a dispatch.
        "ids-as-text": Dialect(ids_as_text=True),
        "request-id-as-number": Dialect(request_id_as_number=True),
        "dispatch-in-data": Dialect(dispatch_shape="data"),
        "dispatch-by-kind": Dialect(dispatch_shape="kind"),
        "dispatch-without-feature-id": Dialect(dispatch_feature_id=False),
        "dispatch-200": Dialect(dispatch_status=200),
        "dispatch-lag": Dialect(dispatch_lag=4.0),
        "mutation-204": Dialect(empty_mutations=True),
        # Times, and fields of another type.
        "times-with-seven-digits": Dialect(times="seven_digits"),
        "times-with-offset": Dialect(times="offset"),
        "times-without-zone": Dialect(times="no_zone"),
        "times-in-epoch-seconds": Dialect(times="epoch_seconds"),
        "times-in-epoch-milliseconds": Dialect(times="epoch_milliseconds"),
        "times-as-date-call": Dialect(times="date_call"),
        "times-empty": Dialect(times="empty"),
        "odd-fields": Dialect(odd_fields=ODD_FIELDS),
        # Errors and limits.
        "errors-as-problem": Dialect(errors="problem"),
        "errors-of-iis": Dialect(errors="iis"),
        "errors-of-nginx": Dialect(errors="nginx"),
        "errors-nested": Dialect(errors="nested"),
        "errors-as-text": Dialect(errors="text"),
        "errors-capitalized": Dialect(errors="capitalized"),
        "rate-limit-403-retry-after": Dialect(rate_limit=5, rate_limit_answer="403_retry_after"),
        "rate-limit-403-code": Dialect(rate_limit=5, rate_limit_answer="403_code"),
        # The web server before the service.
        "json-body-required": Dialect(requires_json_body=True),
        "path-prefix": Dialect(path_prefix="/testvibe"),
        "slashes-decoded": Dialect(decodes_slashes=True),
        "slash-added": Dialect(adds_slash=True),
        "login-page": Dialect(login="page"),
        "login-redirect": Dialect(login="redirect"),
        "documented-routes-404": Dialect(assumed_routes="404"),
        "documented-routes-404-page": Dialect(assumed_routes="404", unrouted="iis"),
        "documented-routes-405": Dialect(assumed_routes="405"),
        # Encodings.
        "gzip": Dialect(gzip=True),
        "byte-order-mark": Dialect(byte_order_mark=True),
        "text-plain": Dialect(content_type="text/plain; charset=utf-8"),
    }
)
"""Dialects by name, each with one difference from the documented service."""
