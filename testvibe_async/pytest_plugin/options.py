"""The plugin's options as checked values.

It decides what is valid, and refuses the rest in one sentence before anything is sent. It declares
no option: see `declaration`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import pytest
from attrs import frozen

from testvibe_async.pytest_plugin.declaration import option_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Options", "read_options"]

NumberT = TypeVar("NumberT", int, float)

MAX_IN_FLIGHT = 100
TIMEOUT = 900.0
"""Seconds to wait for a feature; a run takes about half a minute, a generation some minutes."""

POLL_INTERVAL = 3.0
"""The client's default, in seconds."""


@frozen(kw_only=True)
class Options:
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
