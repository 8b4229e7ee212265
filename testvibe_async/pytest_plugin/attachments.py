"""A finished run in the reports of Allure and pytest-html, where they are in use.

It decides how its tests and its artifacts appear there. Both are optional: neither is imported
before its own plugin is active. It never downloads an artifact: see `suite`.
"""

from __future__ import annotations

import base64
import mimetypes
import os
from contextlib import suppress
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from testvibe_async.pytest_plugin.report import describe_case, verdict_of
from testvibe_async.reports import one_line

if TYPE_CHECKING:
    from testvibe_async import CaseResult
    from testvibe_async.pytest_plugin.suite import FinishedRun

__all__ = ["html_extras", "tell_allure"]


def tell_allure(config: pytest.Config, finished: FinishedRun) -> None:
    """Add a step for each test of a run, and its artifacts, to the item that Allure reports now."""
    if not config.pluginmanager.has_plugin("allure_listener"):
        return
    allure: Any = import_module("allure")
    for case in finished.run.tests:
        with suppress(AssertionError, pytest.skip.Exception), allure.step(one_line(case.name)):
            _act_out(case)
    for path in finished.artifacts:
        mime_type, _ = mimetypes.guess_type(path.name)
        allure.attach.file(
            str(path), name=path.name, attachment_type=mime_type, extension=path.suffix[1:]
        )


def _act_out(case: CaseResult) -> None:
    """Raise what Allure takes for the status of a step."""
    verdict = verdict_of(case)
    if verdict == "failed":
        raise AssertionError(describe_case(case))
    if verdict == "skipped":
        raise pytest.skip.Exception(describe_case(case))


def html_extras(config: pytest.Config, finished: FinishedRun) -> list[dict[str, Any]]:
    """Return what pytest-html shows beside a run: its images, and links to its other artifacts."""
    page: str | None = getattr(config.option, "htmlpath", None)
    if page is None:
        return []
    extras: Any = import_module("pytest_html.extras")
    folder = (config.invocation_params.dir / os.path.expandvars(page)).expanduser().parent
    found: list[dict[str, Any]] = []
    for path in finished.artifacts:
        mime_type = mimetypes.guess_type(path.name)[0] or ""
        if mime_type.startswith("image/"):
            content = base64.b64encode(path.read_bytes()).decode()
            found.append(extras.image(content, path.name, mime_type, path.suffix[1:]))
        else:
            link = quote(Path(os.path.relpath(path, folder)).as_posix())
            found.append(extras.url(link, escape(path.name)))
    return found
