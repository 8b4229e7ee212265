"""The contract as one OpenAPI document: what is documented of the service, and what is assumed.

Decides where the document is read from. It never checks an answer, and nothing that is sent or read
depends on it: `endpoints` and `convert` do both.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["openapi_document"]


@cache
def openapi_document() -> Mapping[str, Any]:
    """Return the OpenAPI 3.1 document of all operations. It is shared: never change it.

    Each operation, parameter, body, answer, field and link has a member `x-basis`, which is
    `documented` or `assumed`.
    """
    content = files("testvibe_async._wire").joinpath("openapi.json").read_bytes()
    return cast("dict[str, Any]", json.loads(content))
