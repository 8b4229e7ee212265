"""The table of formats, and what holds for each: no unfinished batch looks green."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.surfaces.reports.items import (
    PASSED,
    Item,
    in_flight_item,
    item_of,
    run_item,
    skipped_item,
    unknown_item,
    unseen_item,
    waiting_item,
)
from testvibe_async import ConfigError, Verdict
from testvibe_async.reports import (
    FORMATS,
    Format,
    page,
    report_target,
    to_ctrf,
    to_junit,
    write_report,
    write_reports,
)

each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


@each_format
@pytest.mark.parametrize("verdict", Verdict)
def test_each_format_has_each_verdict(form: Format, verdict: Verdict) -> None:
    """A report can be made of a batch in whatever state."""
    item = item_of(verdict)

    assert item.feature_name in form.render([item])


@each_format
def test_a_format_is_found_by_its_words(form: Format, tmp_path: Path) -> None:
    """Each of its endings, in any case, and its name before a path or as `form=` mean a format."""
    for suffix in form.suffixes:
        assert report_target(f"out/A{suffix.upper()}") == (
            form.name,
            Path(f"out/A{suffix.upper()}"),
        )
        assert report_target(f"{suffix[1:]}:out/a") == (form.name, Path("out/a"))
    assert report_target(f"{form.name}:out/a") == (form.name, Path("out/a"))
    items, title = [run_item(PASSED)], "Nightly"
    for path, word in {f"a.{form.suffixes[-1][1:].upper()}": None, "a": form.name}.items():
        written = write_report(tmp_path / path, items, form=word, title=title)
        assert written == tmp_path / path
        assert written.read_text(encoding="utf-8") == form.render(items, title=title)


@pytest.mark.parametrize("form", ["pdf", ""])
def test_an_unknown_format_is_refused(form: str, tmp_path: Path) -> None:
    """A `form` that is none is an error that names all of them, and writes nothing."""
    with pytest.raises(ConfigError) as caught:
        write_report(tmp_path / "a.xml", [], form=form)

    assert all(each.suffixes[0] in str(caught.value) for each in FORMATS)
    assert list(tmp_path.iterdir()) == []


UNFINISHED = {
    "in flight": [in_flight_item()],
    "in flight beside what passed": [run_item(PASSED), in_flight_item()],
    "waiting": [waiting_item()],
    "unknown": [unknown_item()],
    "unseen": [unseen_item()],
    "never dispatched": [skipped_item(), skipped_item()],
    "never dispatched beside what passed": [run_item(PASSED), skipped_item()],
}


@pytest.mark.parametrize("items", UNFINISHED.values(), ids=UNFINISHED)
def test_no_unfinished_batch_is_green(items: list[Item]) -> None:
    """A dashboard that counts failures and errors sees at least one."""
    suites = ET.fromstring(to_junit(items))  # noqa: S314 - written above
    assert int(suites.get("failures", 0)) + int(suites.get("errors", 0)) > 0
    assert json.loads(to_ctrf(items))["results"]["summary"]["failed"] > 0


def test_what_a_failure_kept_from_its_dispatch_is_skipped() -> None:
    """Beside a failure, what was never dispatched is no error of its own."""
    suites = ET.fromstring(to_junit([item_of(Verdict.FAILED), skipped_item()]))  # noqa: S314
    assert (suites.get("failures"), suites.get("errors")) == ("1", "0")


def test_each_report_is_written_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that can't be written keeps none of the others, and is named with its reason."""
    (tmp_path / "b.json").mkdir()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page._environment.cache_clear()
    targets = [
        report_target(str(tmp_path / name)) for name in ("a.html", "b.json", "c.md", "d.xml")
    ]
    errors = write_reports(targets, [run_item(PASSED)])

    assert {path.name for path in errors} == {"a.html", "b.json"}
    assert all((tmp_path / name).is_file() for name in ("c.md", "d.xml"))
    disk = errors[tmp_path / "b.json"]
    assert isinstance(disk, OSError)
    assert disk.errno == errno.EISDIR


@each_format
def test_jinja2_is_needed_by_the_page_alone(
    form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without jinja2 the page is refused in one sentence that names it; all else is written."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page._environment.cache_clear()

    def write() -> Path:
        return write_report(tmp_path / "a", [run_item(PASSED)], form=form.name)

    if form.name == "html":
        with pytest.raises(ConfigError, match="jinja2"):
            write()
    else:
        assert write().is_file()
