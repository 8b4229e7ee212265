"""The plugin's additions to pytest's command line and configuration file, and their values.

It decides whether features are asked for, and what is valid; the rest it refuses in one sentence
before anything is sent. pytest loads it at every start, so it imports nothing else of this package.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Literal

__all__ = [
    "MARKER",
    "ROOT",
    "WORKER_OUTPUT",
    "Options",
    "add_options",
    "is_enabled",
    "option_value",
    "read_options",
    "take_node_ids",
]

NumberT = TypeVar("NumberT", int, float)

MAX_IN_FLIGHT = 100
TIMEOUT = 900.0
"""Seconds to wait for a feature; a run takes about half a minute, a generation some minutes."""

POLL_INTERVAL = 3.0
"""The client's default, in seconds."""

ROOT = "testvibe"
"""The beginning of the node ids of features, before `::`."""

MARKER = (
    "testvibe(feature, *, config=None, site_url=None, project=None): run a TestVibe feature, along "
    "with all others, and give the finished run to the test by the fixture testvibe_run"
)

WORKER_OUTPUT = "testvibe_in_flight"
"""The key of a pytest-xdist worker's output for the refs of what it leaves in flight."""

_SWITCHES = (
    ("testvibe", "run the features of a TestVibe project as tests"),
    (
        "testvibe-generate",
        "generate the tests of features that have none, which costs minutes and credits",
    ),
)

_VALUES: tuple[tuple[str, str, Literal["string", "int", "float", "linelist"], str], ...] = (
    ("project", "ID", "string", "the project's id or name (else TESTVIBE_PROJECT)"),
    ("select", "GLOB", "linelist", "only such features, as 'Check*', or not, as '!Check*'; repeatable"),
    ("config", "NAME", "linelist", "run each feature with this run configuration; repeatable"),
    ("site-url", "URL", "string", "the site to test (else the project's own)"),
    ("max-in-flight", "N", "int", "runs that are in flight at once (default: 100)"),
    ("attempts", "N", "int", "how often a feature may run until it passes (default: 1)"),
    ("timeout", "SECONDS", "float", "how long to wait for a feature (default: 900)"),
    ("poll-interval", "SECONDS", "float", "from one poll of a run to the next (default: 3)"),
    ("artifacts", "DIR", "string", "download the artifacts of runs that failed"),
    ("journal", "DIR", "string", "keep runs here: a session that was killed goes on if run again"),
)

_RULES = (
    ("testvibe_skip", "features not to run, as lines of 'GLOB: REASON'"),
    ("testvibe_xfail", "features expected to fail, as lines of 'GLOB: REASON'"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare all options."""
    group = parser.getgroup("testvibe", "TestVibe")
    for name, text in _SWITCHES:
        dest = name.replace("-", "_")
        group.addoption(f"--{name}", dest=dest, action="store_true", default=None, help=text)
        undo = f"undo {dest} of the configuration file"
        group.addoption(f"--no-{name}", dest=dest, action="store_false", help=undo)
        parser.addini(dest, text, "bool", default=False)
    for name, metavar, kind, text in _VALUES:
        group.addoption(
            f"--testvibe-{name}",
            metavar=metavar,
            default=None,
            action="append" if kind == "linelist" else "store",
            type={"int": int, "float": float}.get(kind, str),
            help=text,
        )
        is_number = kind in {"int", "float"}
        # pytest reads numbers since 8.4; before, `options` does.
        ini_kind = "string" if is_number and pytest.version_tuple < (8, 4) else kind
        parser.addini(f"testvibe_{name.replace('-', '_')}", text, ini_kind, default=None)
    for name, text in _RULES:
        parser.addini(name, text, "linelist")


def is_enabled(config: pytest.Config) -> bool:
    """Return True if features are to be collected."""
    return bool(option_value(config, "testvibe"))


def option_value(config: pytest.Config, name: str) -> Any:  # noqa: ANN401 - each has its own type
    """Return an option's value from the command line, else from the file, else None."""
    value = config.getoption(name, None)
    return config.getini(name) if value is None else value


def take_node_ids(config: pytest.Config) -> list[str]:
    """Remove the node ids of features from pytest's arguments, and return them.

    pytest would look for files of those names.
    """
    node_ids = [argument for argument in config.args if _bare(argument).startswith(f"{ROOT}::")]
    if node_ids:
        config.args[:] = [argument for argument in config.args if argument not in node_ids]
    return [_bare(node_id) for node_id in node_ids]


def _bare(node_id: str) -> str:
    """Return a node id without the `../` that pytest prints before it in subdirectories."""
    while node_id.startswith("../"):
        node_id = node_id.removeprefix("../")
    return node_id


class Options(NamedTuple):
    """The checked options."""

    project: str | None
    select: tuple[str, ...]
    configs: tuple[str, ...]
    site_url: str | None
    max_in_flight: int
    attempts: int
    """How often a feature may run; only a run that failed is followed by another."""

    timeout: float
    """Seconds to wait for a feature: all of its attempts, and its generation."""

    poll_interval: float
    generate: bool
    artifacts: Path | None
    """The directory for the artifacts of failed runs; None to download none."""

    journal: Path | None
    """The directory for the journals of runs; None to keep none."""

    skip: Mapping[str, str]
    """The reasons to skip features, by the patterns of their names."""

    xfail: Mapping[str, str]
    """The reasons to expect that features fail, by the patterns of their names."""


def read_options(config: pytest.Config) -> Options:
    """Read and check the options.

    Raises:
        pytest.UsageError: One of them is wrong.
    """
    return Options(
        project=option_value(config, "testvibe_project"),
        select=_lines(config, "select"),
        configs=_lines(config, "config"),
        site_url=option_value(config, "testvibe_site_url"),
        max_in_flight=_number(config, "max_in_flight", int, MAX_IN_FLIGHT),
        attempts=_number(config, "attempts", int, 1),
        timeout=_number(config, "timeout", float, TIMEOUT),
        poll_interval=_number(config, "poll_interval", float, POLL_INTERVAL),
        generate=bool(option_value(config, "testvibe_generate")),
        artifacts=_directory(config, "artifacts"),
        journal=_directory(config, "journal"),
        skip=_rules(config, "skip"),
        xfail=_rules(config, "xfail"),
    )


def _lines(config: pytest.Config, name: str) -> tuple[str, ...]:
    lines: Sequence[str] = option_value(config, f"testvibe_{name}") or ()
    return tuple(dict.fromkeys(lines))


def _rules(config: pytest.Config, name: str) -> dict[str, str]:
    rules: dict[str, str] = {}
    for line in _lines(config, name):
        pattern, colon, reason = (part.strip() for part in line.partition(": "))
        if not (pattern and colon and reason):
            raise pytest.UsageError(f"testvibe_{name} takes lines of 'GLOB: REASON', not {line!r}")
        rules.setdefault(pattern, reason)
    return rules


def _directory(config: pytest.Config, name: str) -> Path | None:
    value: str | None = option_value(config, f"testvibe_{name}")
    return config.invocation_params.dir / value if value else None


def _number(config: pytest.Config, name: str, kind: type[NumberT], default: NumberT) -> NumberT:
    """Return a number: an int of 1 or more, or a float above 0, which is finite."""
    try:
        value: str | NumberT | None = option_value(config, f"testvibe_{name}")
        number = default if value is None else kind(value)
    except (TypeError, ValueError) as error:  # what pytest raises of a value in its file, too
        raise pytest.UsageError(f"{_spelled(name)} must be a number: {error}") from None
    if not 0 < number < math.inf:
        least = "1 or more" if kind is int else "a number of seconds above 0"
        raise pytest.UsageError(f"{_spelled(name)} must be {least}, not {number:g}")
    return number


def _spelled(name: str) -> str:
    return f"testvibe-{name.replace('_', '-')}"
