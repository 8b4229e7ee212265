"""Doors: a room is used through its `__init__`, and a library by the few modules that it is for.

A room is a package of any depth, without the underscores of its name: `_core.http` is `core.http`.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from attrs import frozen

import testvibe_async

PACKAGE = Path(testvibe_async.__file__).parent

OPEN = {"util", "runner"}
"""The rooms without a door: each module is used by its own name, and brings what it needs alone."""

WINDOWS = {f"reports.{name}" for name in ("entries", "files", "reasons", "text")}
"""Modules that others use beside the door of their room."""

LIBRARIES = {
    "aiohttp": ("artifacts.host", "http.failures", "http.request_body", "http.session", "testing"),
    "cattrs": ("wire.convert",),
    "opentelemetry": ("telemetry",),
    "temporalio": ("temporal",),
    **dict.fromkeys(("mcp", "pydantic", "starlette", "uvicorn"), ("mcp_server",)),
}
"""The modules, or rooms, that may import a library; the others may name its types."""


@frozen
class Import:
    """One import of a module of the package."""

    importer: str
    imported: str
    names: tuple[str, ...] = ()
    is_for_types: bool = False


def name_of(path: Path) -> str:
    """Return the name of a module's file in the package, such as `_core.http.session`."""
    named = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return ".".join(named.relative_to(PACKAGE).parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}
ROOMS = {name for name, path in MODULES.items() if path.name == "__init__.py" and name}


@cache  # Not where a worker collects: it takes half a second.
def imports() -> list[Import]:
    """Return all imports of the package's modules, also those inside functions."""
    return [*_imports()]


def _imports() -> Iterator[Import]:
    for importer, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = tuple(each.name for each in node.names)
                yield Import(importer, node.module, names, id(node) in for_types)
            elif isinstance(node, ast.Import):
                for each in node.names:
                    yield Import(importer, each.name, (), id(node) in for_types)


def is_within(module: str, room: str) -> bool:
    """Return whether a module is a room, or inside of it."""
    return module == room or module.startswith(f"{room}.")


def plain(name: str) -> str:
    """Return a name without the underscores of rooms, and without the room that has all of them."""
    return ".".join(part.lstrip("_") for part in name.split(".")).removeprefix("core.")


def public_names(room: str) -> set[str]:
    """Return what a room's `__init__` exports."""
    tree = ast.parse(MODULES[room].read_text(encoding="utf-8"))
    return {
        name
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    }


def test_rooms_are_found() -> None:
    """Otherwise the rules below would hold for nothing."""
    assert {"cli", "cli.doctor", "testing"} <= ROOMS
    assert {each for names in LIBRARIES.values() for each in names} <= {*map(plain, MODULES)}


def test_a_room_is_entered_by_its_door() -> None:
    """No module imports one inside another room, or what that room's `__init__` does not export."""
    entered: set[tuple[str, str]] = set()
    for each in imports():
        if not each.imported.startswith("testvibe_async."):
            continue
        module = each.imported.removeprefix("testvibe_async.")
        room = module if module in ROOMS else module.rpartition(".")[0]
        is_open = plain(room) in OPEN or plain(module) in WINDOWS
        if not room or is_open or is_within(each.importer, room):
            continue
        if module != room:
            entered.add((each.importer, module))
        entered |= {
            (each.importer, f"{room}.{name}") for name in {*each.names} - public_names(room)
        }
    assert not entered


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_used_by_few(library: str) -> None:
    """What it does is decided in one place, and the rest of the package does without it."""
    users = {
        each.importer
        for each in imports()
        if each.imported.partition(".")[0] == library and not each.is_for_types
    }
    allowed = LIBRARIES[library]
    assert users
    assert not [each for each in users if not any(is_within(plain(each), at) for at in allowed)]
