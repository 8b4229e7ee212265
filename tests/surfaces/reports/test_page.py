"""The page: everything on it, in order, safe by its policy, without a network; the timeline."""

import base64
import hashlib
import re
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from tests.support.amounts import amount
from tests.surfaces.reports import items as made
from tests.surfaces.reports.items import ERROR, FAILED, PASSED, Item, at, run_item
from tests.surfaces.reports.parsed import Node, parsed
from testvibe_async import CaseResult
from testvibe_async.reports import page as page_module
from testvibe_async.reports import to_html, write_report
from testvibe_async.reports.page import href
from testvibe_async.reports.timeline import MOST_ROWS

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 40


def page_of(*items: Item, **options: Any) -> Node:
    return parsed(to_html(items, **options))


def operations(page: Node) -> list[Node]:
    return page.all("details", "operation")


def operation_of(item: Item, **options: Any) -> Node:
    (operation,) = operations(page_of(item, **options))
    return operation


def groups_of(*items: Item, **options: Any) -> list[Node]:
    return page_of(*items, **options).all("details", "group")


def texts(nodes: list[Node]) -> list[str]:
    return [node.text for node in nodes]


def test_the_outcome_comes_first() -> None:
    """Title, headline, facts and a count of each verdict are at the top, then the failures."""
    html = to_html(made.every_kind(), title="Nightly")
    page = parsed(html)

    (header,) = page.all("header")
    assert texts(header.all("h1")) == ["1 passed, 2 failed, 2 errors, 1 in flight, 1 skipped"]
    assert texts(header.all("p", "title")) == ["Nightly"]
    verdicts = ["2 Failed", "2 Error", "1 In flight", "1 Skipped", "1 Succeeded"]
    assert texts(header.all("button")) == verdicts
    assert "Ran3 tests: 2 passed, 1 failed" in header.text
    assert "Began10 Jun 2026, 16:02:11 UTC" in header.text
    assert "Serverhttps://testvibe.example" in header.text
    assert page.all("title")[0].text == f"{header.all('h1')[0].text} · Nightly"
    assert html.index("<h2>Failures</h2>") < html.index("<h2>Timeline</h2>")
    assert "Failures</h2>" not in to_html([run_item(PASSED)])
    assert texts(page_of().all("h1")) == ["no operations yet"]


def test_a_failed_run() -> None:
    """Its line has the outcome; beneath are failed tests and errors, other tests, log and times."""
    item = run_item(PASSED, FAILED, log="one\ntwo", config="Mobile")
    operation = operation_of(item, title="x")

    line = ["failed", "Login Mobile", "Mobile", "1 of 2 tests failed", "35 s"]
    assert texts(operation.all("summary")[0].all("span")) == line
    (failure,) = operation.all("div", "failure")
    assert "open" not in operation.attributes
    assert texts(failure.all("h3")) == ["✕Locked-out user sees an errorfailed9.1 s"]
    assert texts(failure.all("pre")) == [ERROR]
    assert texts(operation.all("li")) == ["✓Valid user signs inpassed4.2 s"]
    (log,) = operation.all("details", "log")
    assert texts(log.all("pre")) == ["one\ntwo"]
    assert "open" not in log.attributes
    times = dict(zip(texts(operation.all("dt")), texts(operation.all("dd")), strict=True))
    assert times.items() >= {"Queued": "8.0 s", "Began": "16:02:19 UTC", "Run": "214"}.items()
    assert "Server" not in times


def test_the_page_has_a_badge_and_a_filter() -> None:
    """What is flaky has a badge, a filter, a share of its own, and comes before what passed."""
    cart = run_item(PASSED, feature="Cart", config="Desktop")
    page = page_of(cart, made.flaky_item(config="Mobile"))
    (header,) = page.all("header")
    first, second = operations(page)

    assert texts(header.all("button")) == ["2 Succeeded", "1 of them flaky"]
    assert [b.attributes["data-verdict"] for b in header.all("button")] == ["succeeded", "flaky"]
    shares = [(rect.attributes["class"], rect.attributes["x"]) for rect in header.all("rect")]
    assert shares == [("flaky", "0.000%"), ("succeeded", "50.000%")]
    assert texts(page.all("span", "flaky")) == texts(first.all("span", "flaky")) == ["flaky"]
    assert ("data-flaky" in first.attributes, "data-flaky" in second.attributes) == (True, False)
    assert first.attributes["data-verdict"] == "succeeded"
    (link,) = page.all("table")[0].all("a", "flaky")
    assert link.text == "passed, flaky"
    assert link.attributes["aria-label"] == "Login [Mobile]: passed, flaky"


class TestFailures:
    """The failures of a batch: first, grouped, with what shows them."""

    def test_equal_errors_are_one_group(self) -> None:
        """Many tests with one error are listed beneath it with their number, the rest to expand."""
        items = [run_item(FAILED, feature=f"Feature {n}", run_id=n) for n in range(25)]
        other = run_item(CaseResult("Odd", "failed", 1, "Error: odd"), feature="Odd", run_id=99)
        same, odd = groups_of(other, *items)
        assert same.all("summary")[0].text.startswith("25 tests: TimeoutError: ")
        assert (len(same.all("pre")), len(same.all("li"))) == (1, 25)
        (rest,) = same.all("details", "rest")
        assert rest.all("summary")[0].text == "5 more with the same error"
        assert odd.all("summary")[0].text == "Odd: Odd"

    @pytest.mark.parametrize("fault", ["", "large", "missing", "empty", "no image", "full"])
    def test_screenshots_are_part_of_the_page(
        self, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that is an image, not too large, and not one too many, is inline."""
        shot, other = tmp_path / "a" / "locked-out.png", tmp_path / "other.png"
        if fault == "large":
            monkeypatch.setattr(page_module, "MAX_IMAGE_BYTES", len(PNG) - 1)
        if fault == "full":
            monkeypatch.setattr(page_module.read_images, "__kwdefaults__", {"most": len(PNG)})
        if fault != "missing":
            shot.parent.mkdir()
            others = {"empty": b"", "no image": b"<script>alert(1)</script>"}
            shot.write_bytes(others.get(fault, PNG))
        other.write_bytes(PNG)
        items = [run_item(FAILED), run_item(CaseResult("Other", "failed"), run_id=215)]
        path = write_report(tmp_path / "a.html", items, artifacts={214: [shot], 215: [other]})

        images = parsed(path.read_text(encoding="utf-8")).all("img")
        data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        alts = ["Screenshot of Locked-out user sees an error", "Screenshot of Other"]
        expected = {"": alts, "large": [], "full": alts[:1]}.get(fault, alts[1:])
        shown = [(image.attributes["src"], image.attributes["alt"]) for image in images]
        assert shown == [(data, alt) for alt in expected]


class TestSafety:
    """Nothing from data becomes markup, code or an address of another place."""

    def test_the_policy_allows_this_style_and_this_script_alone(self) -> None:
        """The policy forbids all except the page's own style and script, by their hashes."""
        page = page_of(*made.every_kind())
        (head,), (style,), (script,) = (page.all(tag) for tag in ("head", "style", "script"))
        (policy,) = (node for node in head if "http-equiv" in node.attributes)
        hashes = [
            base64.b64encode(hashlib.sha256(node.text.encode()).digest()).decode()
            for node in (style, script)
        ]
        assert sorted((policy.attributes["content"] or "").split("; ")) == [
            *("base-uri 'none'", "default-src 'none'", "form-action 'none'", "img-src data:"),
            *(f"script-src 'sha256-{hashes[1]}'", f"style-src 'sha256-{hashes[0]}'"),
        ]
        assert list(head).index(policy) < list(head).index(style)
        assert len(style.text) > 5_000 < len(script.text) * 2
        assert not re.search(r"url\(|@import", style.text)

    def test_the_address_of_a_file(self) -> None:
        """A path is a relative URL or one of a file, whatever its characters and bytes are."""
        addresses = {
            "trace/a.zip": "trace/a.zip",
            "../up.png": "../up.png",
            "javascript:alert(1)": "javascript%3Aalert%281%29",
            "data:text/html,x": "data%3Atext/html%2Cx",
            "a b#c?d&e%41.png": "a%20b%23c%3Fd%26e%2541.png",
            "ä/\N{SNOWMAN}.png": "%C3%A4/%E2%98%83.png",
            "/tmp/a b.zip": "file:///tmp/a%20b.zip",  # noqa: S108 - never opened
            "//evil.example/a": "file:////evil.example/a",
            "bad\udcff.png": "bad%FF.png",
            "worse\ud800.png": "worse%EF%BF%BD.png",
        }
        shown: Any = href  # It takes any kind of path.
        assert {path: shown(PurePosixPath(path)) for path in addresses} == addresses
        assert shown(PureWindowsPath("C:\\out\\a.zip")) == "file:///C:/out/a.zip"


def test_ids_are_unique_and_labels_lead_to_them() -> None:
    """Ids are unique, and each label and each link within the page has its target."""
    page = page_of(*made.every_kind())
    ids = [node.attributes["id"] for node in page if "id" in node.attributes]

    assert len(ids) == len(set(ids))
    for label in page.all("label"):
        assert label.attributes["for"] in ids
    for link in page.all("a"):
        assert (link.attributes["href"] or "").removeprefix("#") in ids


def test_without_a_script_nothing_is_hidden_or_dead() -> None:
    """Filters are hidden until the script runs, and all content is shown."""
    page = page_of(*made.every_kind())

    (filters,) = (node for node in page if "hidden" in node.attributes)
    assert filters.attributes["id"] == "filters"
    assert {node for node in page.all("button") if "disabled" not in node.attributes} <= {*filters}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast(scheme: int) -> None:
    """Text has a contrast of 4.5 and shapes one of 3 in both schemes, as WCAG AA requires."""
    style = page_of(run_item(PASSED)).all("style")[0].text
    roots = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", roots[scheme]))

    for ground in ("paper", "card", "code"):
        for text in ("ink", "quiet", "link"):
            assert _contrast(colours[text], colours[ground]) >= 4.5
    for verdict in ("succeeded", "failed", "error", "unknown", "flaky", "in-flight", "skipped"):
        assert _contrast(colours[verdict], colours[f"{verdict}-soft"]) >= 4.5
        assert _contrast(colours[verdict], colours["card"]) >= 4.5
        assert _contrast(colours["ink"], colours[f"{verdict}-soft"]) >= 4.5
        assert _contrast(colours[f"{verdict}-fill"], colours["paper"]) >= 3


def _contrast(one: str, other: str) -> float:
    """Return the ratio that https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio defines."""
    dark, bright = sorted(map(_luminance, (one, other)))
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_thousands_of_runs_are_all_there() -> None:
    """A page of runs with 5 tests each holds all of them, in less than 2,500 bytes for each."""
    number = amount(2000, few=50)
    items = [
        run_item(*[PASSED] * 4, FAILED if n % 10 == 0 else PASSED, run_id=n, feature=f"F {n}")
        for n in range(number)
    ]
    html = to_html(items)

    assert html.count('class="operation"') == number
    assert html.count("<bdi>Valid user signs in") == number * 5 - number // 10
    assert len(html) < 2_500 * number


MANY = amount(2000, few=60)
Bars = list[tuple[str, float, float]]


def picture_of(*items: Item) -> Node:
    (svg,) = parsed(to_html(items)).all("svg", "timeline")
    return svg


def rects(node: Node) -> Bars:
    """Return class, left and right of each bar, in percent."""
    found: Bars = []
    for rect in node.all("rect"):
        left, width = (float((rect.attributes[name] or "").strip("%")) for name in ("x", "width"))
        found.append((rect.attributes["class"] or "", left, round(left + width, 2)))
    return found


def run_at(begin: float, end: float, number: int = 1) -> Item:
    times: dict[str, Any] = {"created_at": at(begin), "started_at": at(begin)}
    name = f"Feature {number}"
    return run_item(PASSED, run_id=number, feature=name, finished_at=at(end), **times)


@pytest.mark.parametrize(
    ("items", "rows"),
    [
        ([run_at(2 * n, 2 * n + 4.5, n) for n in range(MOST_ROWS + 8)], 3),
        ([run_at(0, 100, n) for n in range(MANY)], MANY),
        ([run_at(n * 7 % 90, n * 7 % 90 + n % 11, n) for n in range(MANY)], None),
    ],
    ids=["one after the other", "all at once", "any"],
)
def test_many_share_rows(items: list[Item], rows: int | None) -> None:
    """Many have as many rows as were in flight at once, below 300 pixels, and hide no other."""
    svg = picture_of(*items)
    by_row: dict[str | None, list[tuple[float, float]]] = {}
    for rect, (_, left, right) in zip(svg.all("rect"), rects(svg), strict=True):
        by_row.setdefault(rect.attributes["y"], []).append((left, right))

    assert len(svg.all("g")) == len(items)
    assert rows is None or len(by_row) == rows
    assert int(svg.attributes["height"] or 0) < 300
    assert not [text for text in svg.all("text") if text.text.startswith("Feature")]
    for bars in by_row.values():
        assert all(a[1] <= b[0] + 0.011 for a, b in pairwise(sorted(bars)))


def test_the_axis() -> None:
    """The axis has a few round times, and none is cut off at the edge, also of days."""
    svg = picture_of(run_at(0, 100))

    assert [text.text for text in svg.all("text", "tick")] == ["0", "30 s", "1:00", "1:30"]
    assert len(svg.all("line")) == 4
    assert len(parsed(to_html([run_at(0, 900_000)])).all("line")) == 7
