"""The table of formats, reports as files, and what holds for each: no unfinished batch is green."""

import errno
import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.surfaces.reports import items as made
from tests.surfaces.reports.items import FAILED, ITEMS, PASSED, attempted, run_item
from tests.surfaces.reports.parsed import ctrf_of, junit_of, parsed
from testvibe_async import ConfigError, Verdict
from testvibe_async.reports import page, to_markdown, write_report
from testvibe_async.reports.files import FORMATS, Format, report_target, write_reports

WHOLE = [form for form in FORMATS if form.suffixes]
each_format = pytest.mark.parametrize("form", WHOLE, ids=lambda form: form.name)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@each_format
@pytest.mark.parametrize("kind", ITEMS)
def test_each_format_has_each_kind(form: Format, kind: str) -> None:
    """A report can be made of a batch in whatever state."""
    assert ITEMS[kind].feature_name in form.render([ITEMS[kind]])


def test_another_format_is_refused(tmp_path: Path) -> None:
    """An unknown ending or word is refused in a sentence that names the known ones."""
    for name, form in (
        *(("report", None), ("report.txt", None), (".html", None), ("report.html.gz", None)),
        *(("a.xml", "pdf"), ("a.xml", "")),
    ):
        with pytest.raises(ConfigError, match=repr(name if form is None else form)) as caught:
            write_report(tmp_path / name, [], form=form)
        assert all(suffix in str(caught.value) for each in FORMATS for suffix in each.suffixes)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("kinds", "errors"),
    [
        (["passed", "in flight"], 1),
        (["skipped", "skipped"], 2),
        (["passed", "skipped"], 1),
        (["passed", "dropped"], 1),
        (["quarantined", "skipped"], 1),
        (["in flight", "skipped"], 1),
        (["failed", "skipped"], 0),
    ],
    ids=str,
)
def test_no_unfinished_batch_is_green(kinds: list[str], errors: int) -> None:
    """A dashboard sees an error; beside one that shows, what was never dispatched is none."""
    items = [ITEMS[kind] for kind in kinds]
    assert junit_of(*items).get("errors") == str(errors)
    assert ctrf_of(*items)["results"]["summary"]["failed"] == (errors or 1)


def test_each_report_is_written_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that can't be written keeps none of the others, and is named with its reason."""
    (tmp_path / "b.json").mkdir()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page._environment.cache_clear()
    page_path, folder, *others = (
        tmp_path / f"{name}" for name in ("a.html", "b.json", "c.md", "d.xml")
    )
    targets = [report_target(str(path)) for path in (page_path, folder, *others)]
    errors = write_reports(targets, [ITEMS["passed"]])

    assert errors.keys() == {page_path, folder}
    assert "jinja2" in str(errors[page_path])
    assert all(path.is_file() for path in others)
    disk = errors[folder]
    assert isinstance(disk, OSError)
    assert (disk.errno, disk.filename) == (errno.EISDIR, str(folder))
    assert names_in(tmp_path) == ["b.json", "c.md", "d.xml"]


def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that can't be written leaves the old file, and no temporary one."""
    path = write_report(tmp_path / "a.md", [], title="old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_report(path, [], title="new")

    assert "old" in path.read_text()
    assert names_in(tmp_path) == ["a.md"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    """A report at a link is in the file that the link names, which it replaces or makes."""
    link, real = tmp_path / "link.md", tmp_path / "out" / "real.md"
    link.symlink_to(Path("out") / "real.md")
    for title in ("first", "second"):
        assert write_report(link, [], title=title) == link
        assert link.is_symlink()
        assert title in real.read_text(encoding="utf-8")
    assert (names_in(tmp_path), names_in(real.parent)) == (["link.md", "out"], ["real.md"])


def test_standard_output_is_not_truncated(tmp_path: Path) -> None:
    """A report at the file that standard output goes to follows what was printed before."""
    path, before = tmp_path / "out.md", os.dup(1)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)
        os.write(1, b"before\n")
        write_report(path, [], title="Nightly")
    finally:
        os.dup2(before, 1)
        os.close(before)
    assert path.read_text(encoding="utf-8").startswith("before\n## Nightly\n")


def test_links_of_the_page_are_relative_to_it(tmp_path: Path) -> None:
    """The page's links to artifacts are relative to the page; other formats have the paths."""
    file = tmp_path / "run 1" / "trace" / "a.zip"
    items, artifacts = [ITEMS["passed"]], {214: [file]}

    page = write_report(tmp_path / "out" / "report.html", items, artifacts=artifacts)
    junit = write_report(tmp_path / "out" / "report.xml", items, artifacts=artifacts)

    shown = parsed(page.read_text())
    (link,) = (a for a in shown.all("a") if a.text == "trace/a.zip")
    assert link.attributes["href"] == "../run%201/trace/a.zip"
    (command,) = shown.all("code")
    assert command.text == "npx playwright show-trace '../run 1/trace/a.zip'"
    (output,) = ET.fromstring(junit.read_text()).iter("system-out")  # noqa: S314 - written above
    assert output.text == f"[[ATTACHMENT|{file.as_posix()}]]"
    assert artifacts == {214: [file]}


def test_a_file_on_another_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on another drive of Windows, which no relative path leads to, has an absolute one."""

    def refuse(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    files = {214: [tmp_path / "a.zip"]}
    path = write_report(tmp_path / "a.html", [ITEMS["passed"]], artifacts=files)

    assert f'href="file://{tmp_path.as_posix()}/a.zip"' in path.read_text()


class TestQuarantine:
    """What failed in quarantine: apart, with its owner and date."""

    @each_format
    @pytest.mark.parametrize(
        "item",
        [
            *(ITEMS["quarantined"], made.quarantined_item(Verdict.SUCCEEDED, PASSED)),
            made.quarantined_item(Verdict.FAILED),
        ],
    )
    def test_each_format_names_owner_and_date(self, form: Format, item: made.Item) -> None:
        """So does a pass, until the entry is removed, and a failure after its date."""
        shown = form.render([item])
        assert "Ann" in shown
        assert "2026-06-24" in shown or "2026&#45;06&#45;24" in shown

    def test_no_gate_fails_by_it(self) -> None:
        """JUnit and CTRF count no failure, and still have the error and the earlier failures."""
        reason = "1 of 2 tests failed; quarantined until 2026-06-24 (Ann): slow cart"
        excused = attempted(ITEMS["quarantined"], run_item(FAILED, run_id=7))
        suites = junit_of(ITEMS["quarantined"])
        assert (suites.get("failures"), suites.get("errors")) == ("0", "0")
        assert [each.get("message") for each in suites.iter("skipped")] == [reason]
        results = ctrf_of(excused)["results"]
        assert (results["summary"]["failed"], results["summary"]["other"]) == (0, 1)
        assert results["environment"]["healthy"]
        (test,) = (each for each in results["tests"] if each["status"] == "other")
        assert (test["trace"], test["extra"]["quarantine"]["owner"]) == (made.ERROR, "Ann")
        assert [each["status"] for each in test["retryAttempts"]] == ["failed"]
        text = to_markdown([ITEMS["quarantined"]]).replace("&#58;", ":")
        assert f"🚧 <b>Cart</b>: {reason}" in text
        assert "1 quarantined" in text
