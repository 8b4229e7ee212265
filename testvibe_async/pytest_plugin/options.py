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
        max_in_flight=_positive(config, "max_in_flight") or MAX_IN_FLIGHT,
        attempts=_positive(config, "attempts") or 1,
        timeout=_seconds(config, "timeout") or TIMEOUT,
        poll_interval=_seconds(config, "poll_interval") or POLL_INTERVAL,
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


def _positive(config: pytest.Config, name: str) -> int | None:
    value = _number(config, name, int)
    if value is not None and value < 1:
        raise pytest.UsageError(f"{_spelled(name)} must be 1 or more, not {value}")
    return value


def _seconds(config: pytest.Config, name: str) -> float | None:
    value = _number(config, name, float)
    if value is not None and not 0 < value < math.inf:
        message = f"{_spelled(name)} must be a number of seconds above 0, not {value:g}"
        raise pytest.UsageError(message)
    return value


def _number(config: pytest.Config, name: str, kind: type[NumberT]) -> NumberT | None:
    try:
        value: str | NumberT | None = option_value(config, f"testvibe_{name}")
        return None if value is None else kind(value)
    except (TypeError, ValueError) as error:  # what pytest raises of a value in its file, too
        raise pytest.UsageError(f"{_spelled(name)} must be a number: {error}") from None


def _spelled(name: str) -> str:
    return f"testvibe-{name.replace('_', '-')}"
