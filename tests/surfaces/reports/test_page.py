"""The page: everything on it, in order, safe by its policy, without a network."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.surfaces.reports.items import (
    ERROR,
    FAILED,
    LOG,
    PASSED,
    Item,
    every_kind,
    generation_item,
    in_flight_item,
    refused_item,
    run_item,
)
from tests.surfaces.reports.parsed import Node, parsed
from testvibe_async import CaseResult
from testvibe_async.reports import to_html

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'></pre></details>"


def page_of(*items: Item, **options: Any) -> Node:
    return parsed(to_html(items, **options))


def operations(page: Node) -> list[Node]:
    return page.all("details", "operation")


def operation_of(item: Item, **options: Any) -> Node:
    (operation,) = operations(page_of(item, **options))
    return operation


def classes(node: Node, tag: str, class_: str) -> list[str]:
    return [child.text for child in node.all(tag, class_)]


def test_the_outcome_comes_first() -> None:
    """Title, headline, facts and a count of each verdict are at the top."""
    page = page_of(*every_kind(), title="Nightly")

    (header,) = page.all("header")
    assert [h1.text for h1 in header.all("h1")] == [
        "2 of 7 failed, 2 in error, 1 in flight, 1 skipped"
    ]
    assert classes(header, "p", "title") == ["Nightly"]
    assert [button.text for button in header.all("button")] == [
        "2 Failed",
        "2 Error",
        "1 In flight",
        "1 Skipped",
        "1 Succeeded",
    ]
    assert "Ran3 tests: 2 passed, 1 failed" in header.text
    assert "Began10 Jun 2026, 16:02:11 UTC" in header.text
    assert "Serverhttps://testvibe.example" in header.text
    assert page.all("title")[0].text == f"{header.all('h1')[0].text} · Nightly"


def test_every_item_has_the_data_of_the_filters() -> None:
    """Each item is a line with its verdict, configuration and number; failures come first."""
    page = page_of(*every_kind())

    assert [
        tuple(o.attributes.get(f"data-{name}") for name in ("number", "verdict", "config"))
        for o in operations(page)
    ] == [
        ("2", "failed", "Mobile"),
        ("3", "failed", None),
        ("4", "error", None),
        ("5", "error", "Default"),
        ("6", "in-flight", "Mobile"),
        ("7", "skipped", None),
        ("1", "succeeded", "Default"),
    ]
    assert operations(page)[0].attributes["id"] == "operation-2"


def test_a_line_shows_the_outcome() -> None:
    """A line has the service's status, the name, the configuration, the reason and the time."""
    (summary, *_) = operation_of(run_item(PASSED, FAILED, config="Mobile")).all("summary")

    assert [span.text for span in summary.all("span")] == [
        "failed",
        "Login Mobile",
        "Mobile",
        "1 of 2 tests failed",
        "35 s",
    ]


def test_a_failed_run() -> None:
    """A failed run has its failed tests and errors, then other tests, log and times."""
    item = run_item(PASSED, FAILED, log="one\ntwo")
    operation = operation_of(item, title="x")

    (failure,) = operation.all("div", "failure")
    assert "open" not in operation.attributes
    assert failure.all("h3")[0].text == "✕Locked-out user sees an errorfailed9.1 s"
    assert failure.all("pre")[0].text == ERROR
    assert [li.text for li in operation.all("li")] == ["✓Valid user signs inpassed4.2 s"]
    (log,) = operation.all("details", "log")
    assert log.all("pre")[0].text == "one\ntwo"
    assert "open" not in log.attributes
    assert "Queued8.0 s" in operation.text
    assert "Began16:02:19 UTC" in operation.text


def test_a_generation_shows_its_log() -> None:
    """The log of a failed generation is unfolded, as only the log says why it failed."""
    operation = operation_of(generation_item(), generation_logs={"a1b2": LOG})

    (log,) = operation.all("details", "log")
    assert "open" in log.attributes
    assert "Verification: 0/1 passed" in log.text
    assert not operation.all("div", "failure")


def test_an_error_is_shown_once() -> None:
    """The line of a refused dispatch says why, in the service's words and without an address."""
    operation = operation_of(refused_item())

    assert classes(operation, "span", "result") == [
        'the service says "Only generated features can run." (409 conflict)'
    ]
    assert not operation.all("pre")
    assert not operation.all("dl")


def test_an_error_like_the_reason_is_shown() -> None:
    """A failed test is on the page even if its error equals the line above it."""
    (failure,) = operation_of(run_item(CaseResult("x", "failed", error="1 of 1 test failed"))).all(
        "div", "failure"
    )

    assert failure.text == "✕xfailed1 of 1 test failed"


def test_a_failure_without_an_error() -> None:
    """A failed test without an error says so."""
    assert operation_of(run_item(CaseResult("x", "failed"))).all("pre")[0].text == "no error given"


def test_files() -> None:
    """Downloaded files are links; files that were not downloaded are counted."""
    (link,) = operation_of(run_item(PASSED), artifacts={214: [Path("out/run 1/trace/a.zip")]}).all(
        "a"
    )
    kinds = every_kind()

    assert (link.text, link.attributes["href"]) == ("trace/a.zip", "out/run%201/trace/a.zip")
    assert classes(page_of(*kinds), "p", "note") == ["1 file at the service, not downloaded"]


def test_features_by_configuration() -> None:
    """A page of several configurations has a table of them by feature, with a link to each run."""
    items = [
        run_item(PASSED, config="Desktop"),
        run_item(FAILED, config="Mobile"),
        run_item(PASSED, feature="Checkout", config="Mobile"),
        run_item(PASSED, feature="Checkout", config="Mobile"),
        generation_item(),
    ]
    (table,) = page_of(*items).all("table")

    assert [[cell.text for cell in row.all("th") + row.all("td")] for row in table.all("tr")] == [
        ["Feature", "Desktop", "Mobile"],
        ["Login", "passed", "failed"],
        ["Checkout", "", "passedpassed"],
    ]
    assert [link.attributes["href"] for link in table.all("a")] == [
        "#operation-1",
        "#operation-2",
        "#operation-3",
        "#operation-4",
    ]
    assert table.all("a")[1].attributes["aria-label"] == "Login [Mobile]: failed"


def test_the_filter_of_configurations() -> None:
    """It offers those that occur; with one alone there is neither the table nor the filter."""
    several = page_of(run_item(PASSED), in_flight_item())
    one = page_of(run_item(PASSED), generation_item())

    assert [option.text for option in several.all("option")] == ["All", "Default", "Mobile"]
    assert not one.all("table") + one.all("select")


def test_the_timeline_is_there_when_times_are() -> None:
    """The timeline shows the operations with a time, and is left out without any."""
    assert len(page_of(*every_kind()).all("svg", "timeline")[0].all("g")) == 5
    assert not page_of(refused_item()).all("svg", "timeline")


def test_the_policy_allows_this_style_and_this_script_alone() -> None:
    """The policy forbids all except the page's own style and script, by their hashes."""
    page = page_of(*every_kind())
    (policy,) = (
        meta.attributes["content"] or ""
        for meta in page.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{_digest(page.all('style'))}'",
        "script-src": f"'sha256-{_digest(page.all('script'))}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    head = page.all("head")[0]
    assert [n.tag for n in head][2:4] == ["meta", "meta"]
    assert next(i for i, n in enumerate(head) if n.attributes.get("http-equiv")) < next(
        i for i, n in enumerate(head) if n.tag == "style"
    )


def _digest(nodes: list[Node]) -> str:
    (node,) = nodes
    return base64.b64encode(hashlib.sha256(node.text.encode()).digest()).decode()


def test_nothing_is_fetched_and_nothing_runs_from_attributes() -> None:
    """No attribute loads anything, styles anything or holds code: the policy would forbid it."""
    page = page_of(*every_kind(), artifacts={214: [Path("a.zip")]})

    for node in page:
        assert node.tag not in {"iframe", "object", "embed", "base", "image", "use", "img"}
        assert not {"src", "style", "action", "srcset"} & node.attributes.keys()
        assert not any(name.startswith("on") for name in node.attributes)
        address = node.attributes.get("href") or ""
        assert node.tag != "link" or address.startswith("data:image/svg+xml,")
        assert node.tag == "link" or not re.match(r"[a-z]+:|//", address)
    style = page.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style


def test_data_stays_text() -> None:
    """Names, errors, logs and paths that look like markup are shown as they are."""
    test = CaseResult(ATTACK, "failed", 1000, ATTACK)
    item = run_item(test, feature=ATTACK, config=ATTACK, log=ATTACK)
    page = page_of(item, refused_item(ATTACK, config="x"), title=ATTACK)

    assert page.all("script") == page.all("script")[:1]
    assert not page.all("img")
    (failed, refused) = operations(page)
    assert [pre.text for pre in failed.all("pre")] == [ATTACK, ATTACK]
    assert [bdi.text for bdi in failed.all("bdi")] == [ATTACK, ATTACK]
    assert [bdi.text for bdi in refused.all("bdi")] == [ATTACK]
    assert failed.attributes["data-config"] == ATTACK
    assert page.all("option")[1].attributes["value"] == ATTACK
    assert classes(page, "p", "title") == [ATTACK]


def test_ids_are_unique_and_labels_lead_to_them() -> None:
    """Ids are unique, and each label and each link within the page has its target."""
    page = page_of(*every_kind())
    ids = [node.attributes["id"] for node in page if "id" in node.attributes]

    assert len(ids) == len(set(ids))
    for label in page.all("label"):
        assert label.attributes["for"] in ids
    for link in page.all("a"):
        assert (link.attributes["href"] or "").removeprefix("#") in ids


def test_without_a_script_nothing_is_hidden_or_dead() -> None:
    """Filters are hidden until the script runs, and all content is shown."""
    page = page_of(*every_kind())

    hidden = [node for node in page if "hidden" in node.attributes]
    assert [node.attributes["id"] for node in hidden] == ["filters"]
    live = [button for button in page.all("button") if "disabled" not in button.attributes]
    assert set(live) <= set(hidden[0])


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
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_two_thousand_runs_are_all_there() -> None:
    """A page of 2,000 runs with 5 tests each holds all of them, in less than 5 MB."""
    items = [
        run_item(*[PASSED] * 4, FAILED if n % 10 == 0 else PASSED, run_id=n, feature=f"F {n}")
        for n in range(2000)
    ]
    html = to_html(items)

    assert html.count('class="operation"') == 2000
    assert html.count("<bdi>Valid user signs in") == 2000 * 5 - 200
    assert len(html) < 5_000_000


def test_an_empty_batch() -> None:
    """An empty batch is a page that says so."""
    page = page_of()

    assert page.all("h1")[0].text == "Nothing was asked for"
    assert operations(page) == []
