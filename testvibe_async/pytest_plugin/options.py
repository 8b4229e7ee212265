"""The plugin's additions to pytest's command line and configuration file, and their values.

Decides whether features are asked for, and what is valid; the rest it refuses in one sentence
before anything is sent. pytest loads it at every start, so it imports nothing else of this package.
"""

from __future__ import annotations

import math
import re
from argparse import BooleanOptionalAction
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "testvibe"
"""The beginning of the node ids of features, before `::`."""

SESSION = "testvibe-session"
"""The name of the plugin object of a session that runs features."""

MARKER = (
    "testvibe(feature, *, config=None, site_url=None, project=None): run a TestVibe feature, along "
    "with all others, and give the finished run to the test by the fixture testvibe_run"
)

_HAS_NUMBERS = pytest.version_tuple >= (8, 4)  # else `_number` reads them
_FILE_KINDS: dict[Any, Any] = {
    "bool": "bool",
    "int": "int" if _HAS_NUMBERS else "string",
    "float": "float" if _HAS_NUMBERS else "string",
    "tuple[str, ...]": "linelist",
}
"""The word for a type in pytest's configuration file, if it is not a string there."""

_ACTIONS: dict[Any, Any] = {"bool": BooleanOptionalAction, "tuple[str, ...]": "append"}


def _option(help: str, metavar: str | None = None, default: float | None = None) -> Any:  # noqa: A002, ANN401 - pytest's word; each has its own type
    return field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class Options:
    """All options by their names without `testvibe`, with their checked values."""

    project: str | None = _option("its id or name (else TESTVIBE_PROJECT)", "ID")
    select: tuple[str, ...] = _option("only 'Check*', or '!Check*'; repeatable", "GLOB")
    config: tuple[str, ...] = _option("a configuration to run with; repeatable", "NAME")
    site_url: str | None = _option("the site to test (else the project's own)", "URL")
    max_in_flight: int | None = _option("runs that are in flight at once", "N")
    attempts: int = _option("runs of a feature until it passes (default: 1)", "N", 1)
    timeout: float = _option("how long to wait for a feature (default: 900)", "SECONDS", 900)
    poll_interval: float | None = _option("between two polls", "SECONDS")
    artifacts: Path | None = _option("download the artifacts of failed runs", "DIR")  # noqa: RUF009 - no default
    log: bool = _option("show the end of a failed run's log", default=False)
    key: str | None = _option("the session's name in the ledger, to resume it", "KEY")


def add_options(parser: pytest.Parser) -> None:
    """Declare all options, on the command line and in the configuration file."""
    group = parser.getgroup("testvibe", "TestVibe")
    rows = {f"testvibe_{each.name}": (_kind(each), each.metadata) for each in fields(Options)}
    main: Any = {"help": "run the features of a TestVibe project as tests"}
    for name, (kind, words) in {"testvibe": ("bool", main), **rows}.items():
        named = {key: word for key, word in words.items() if word}
        group.addoption(_spelled(name), dest=name, action=_ACTIONS.get(kind, "store"), **named)
        parser.addini(name, words["help"], _FILE_KINDS.get(kind, "string"), default=None)


def is_enabled(config: pytest.Config) -> bool:
    """Return True if features are to be collected, as where the command line selects some."""
    if (asked := config.getoption("testvibe", None)) is not None:
        return bool(asked)
    selects = (config.getoption(f"testvibe_{name}", None) for name in ("select", "config"))
    return bool(config.getini("testvibe")) or any(selects)


def given_options(config: pytest.Config) -> list[str]:
    """Return the options that the command line has, if it does not have `--no-testvibe`."""
    names = (f"testvibe_{each.name}" for each in fields(Options))
    given = [_spelled(name) for name in names if config.getoption(name, None) is not None]
    return [] if config.getoption("testvibe", None) is False else given


def option_value(config: pytest.Config, name: str) -> Any:  # noqa: ANN401 - each has its own type
    """Return an option's value from the command line, else from the file, else None."""
    value = config.getoption(name, None)
    return config.getini(name) if value is None else value


def take_node_ids(config: pytest.Config) -> list[str]:
    """Remove the node ids of features from pytest's arguments, and return them.

    pytest would look for files of those names. In subdirectories it prints `../` before them.
    """
    bare = {argument: re.sub(r"^(\.\./)+", "", argument) for argument in config.args}
    node_ids = [node_id for node_id in bare.values() if node_id.startswith(f"{ROOT}::")]
    if node_ids:
        config.args[:] = [argument for argument in config.args if bare[argument] not in node_ids]
    return node_ids


def read_options(config: pytest.Config) -> Options:
    """Read and check the options.

    Raises:
        pytest.UsageError: One of them is wrong.
    """
    return Options(**{each.name: _read(config, each) for each in fields(Options)})


def _read(config: pytest.Config, option: Field[Any]) -> Any:  # noqa: ANN401 - each has its own type
    name = f"testvibe_{option.name}"
    match _kind(option):
        case "int":
            return _number(config, name, int, option.default)
        case "float":
            return _number(config, name, float, option.default)
        case "tuple[str, ...]":
            return tuple(dict.fromkeys(option_value(config, name) or ()))
        case "Path":
            folder = option_value(config, name)
            return config.invocation_params.dir / folder if folder else None
        case _:
            value = option_value(config, name)
            return option.default if value is None else value


def _kind(option: Field[Any]) -> str:
    return str(option.type).removesuffix(" | None")


def _number(config: pytest.Config, name: str, kind: type[float], default: Any) -> Any:  # noqa: ANN401 - likewise
    """Return a number: an int of 1 or more, or a float above 0, which is finite."""
    try:
        value = option_value(config, name)
        if value is None:
            return default
        number = kind(value)
    except (TypeError, ValueError) as error:  # what pytest raises of a value in its file, too
        raise pytest.UsageError(f"{_spelled(name)} must be a number: {error}") from None
    if not 0 < number < math.inf:
        least = "1 or more" if kind is int else "a number of seconds above 0"
        raise pytest.UsageError(f"{_spelled(name)} must be {least}, not {number:g}")
    return number


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"
