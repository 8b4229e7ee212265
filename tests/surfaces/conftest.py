"""Commands in this process, which are called a thousand times in a session."""

from collections.abc import Generator
from copy import copy
from typing import Any
from unittest.mock import Mock

import pytest
from cyclopts import ArgumentCollection


@pytest.fixture(scope="session", autouse=True)
def _options_are_read_once() -> Generator[None]:
    """Keep what cyclopts reads from the signatures of a command: most of the time of a call."""
    collection: Any = ArgumentCollection
    read, known = collection._from_callable, dict[object, Any]()

    def read_once(command: object, *more: object, **options: Any) -> Any:
        key = command, options.get("parse_docstring"), options.get("_resolve_groups")
        if key not in known:
            known[key] = read(command, *more, **options)
        copies = {id(each): copy(each) for each in known[key]}
        for each in copies.values():
            each.tokens = []
            each.children = collection(copies[id(child)] for child in each.children)
        return collection(copies.values())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(collection, "_from_callable", read_once)
        # In the command no pydantic is loaded, which would check each argument once more.
        patched.setattr("cyclopts.argument._argument.parse_version", Mock(return_value=(1,)))
        yield
