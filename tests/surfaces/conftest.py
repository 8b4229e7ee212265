"""Commands and pytest in this process, which are started a thousand times in a session."""

import ast
from collections.abc import Callable, Generator
from copy import copy
from functools import cache
from typing import Any
from unittest.mock import Mock

import pytest
from _pytest._code.source import getstatementrange_ast
from cyclopts import Argument, ArgumentCollection
from cyclopts.group_extractors import inverse_groups_from_app

from testvibe_async.cli import app


def once(read: Callable[[Any], Any], key: Callable[[Any], object]) -> Callable[[Any], Any]:
    """Return a function that keeps what another one returns for each object."""
    known: dict[int, tuple[object, Any]] = {}

    def read_once(argument: Any) -> Any:
        identity = id(key(argument))
        if identity not in known:
            known[identity] = argument, read(argument)
        return known[identity][1]

    return read_once


@pytest.fixture(scope="session", autouse=True)
def _options_are_read_once() -> Generator[None]:
    """Keep what cyclopts reads from the signatures of a command: most of the time of a call."""
    argument: Any = Argument
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
        negatives = once(argument.negatives.fget, lambda each: each.field_info)
        patched.setattr(argument, "negatives", property(negatives))
        for name in app.NAMES:  # To load a command changes the groups, and validates it.
            app.app[name]
        patched.setattr("cyclopts.core.validate_command", Mock())
        groups = once(inverse_groups_from_app, lambda each: each)
        patched.setattr("cyclopts.app_stack.inverse_groups_from_app", groups)
        # In the command no pydantic is loaded, which would check each argument once more.
        patched.setattr("cyclopts.argument._argument.parse_version", Mock(return_value=(1,)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _sources_are_parsed_once() -> Generator[None]:
    """Keep the syntax tree of each file that a traceback shows, as after Ctrl-C in pytest."""
    parse = cache(ast.parse)

    def find(number: int, source: Any, astnode: ast.AST | None = None) -> Any:
        return getstatementrange_ast(number, source, astnode=astnode or parse(str(source)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("_pytest._code.code.getstatementrange_ast", find)
        yield
