"""Batches in a database: what the commands print, and how they end. `work` runs for real."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.support.commands import Ended, finished, started
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

FIRST = (214, "passed")
"""The first run at an emulator, and its status."""

FAST = Scenario(
    run_queue=(0, 0),
    run_duration=(0.2, 0.2),
    failing_runs=0,
    failing_generations=0,
    generation_warm_up=(0.05, 0.05),
    generation_section=(0.02, 0.04),
    verification=(0.02, 0.02),
    outcomes={
        "Returns": Outcome(run_status="failed"),
        "Wishlist": Outcome(run_status="passed", run_duration=1e6),
    },
)


@pytest.fixture
def testvibe_emulator_options() -> dict[str, object]:
    """Runs take a moment, and those of one feature fail."""
    return {"scenario": FAST}


class Command(Protocol):
    def __call__(self, *words: str, python: tuple[str, ...] | None = None) -> Ended: ...


@pytest.fixture
def place(testvibe_emulator: Emulator, tmp_path: Path) -> dict[str, str]:
    """The variables of a machine of its own."""
    return {
        "TESTVIBE_SERVER": testvibe_emulator.url,
        "TESTVIBE_API_KEY": testvibe_emulator.api_key,
        "TESTVIBE_PROJECT": testvibe_emulator.project_id,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.fixture
def batch(place: dict[str, str]) -> Command:
    """Runs a command of that machine to its end."""

    def run(*words: str, python: tuple[str, ...] | None = None) -> Ended:
        return finished("batch", *words, python=python, **place)

    return run


def test_generations_are_stored_with_a_yes_alone(batch: Command) -> None:
    """A batch that may generate what is missing is not stored unasked, as workers ask nobody."""
    words = ("start", "costly", "Checkout with gift card", "--on-conflict", "generate")
    (output, errors), code = batch(*words)
    assert (output, code) == ("", 2)
    assert "--yes" in errors
    (output, _), code = batch(*words, "--yes")
    assert (output, code) == ("Batch costly is stored.\n", 0)
    (output, _), code = batch("start", "drafts", "--all", "--kind", "generation", "--yes")
    assert (output, code) == ("Batch drafts is stored.\n", 0)
    (output, errors), code = batch("work", "drafts")
    assert code == 0, errors


def test_a_batch_from_start_to_report(
    batch: Command, place: dict[str, str], tmp_path: Path
) -> None:
    """It is stored once, worked on to its end, shown and reported, with one file for all."""
    (output, notes), code = batch("start", "nightly", "Checkout", "Returns")
    assert (output, code) == ("Batch nightly is stored.\n", 0)
    assert "testvibe-async batch work nightly" in notes
    (output, _), code = batch("start", "nightly", "Checkout", "Returns")
    assert (output, code) == ("Batch nightly was stored before.\n", 0)
    (output, _), _ = batch("status", "nightly")
    assert output == "Batch nightly, running, 0 workers: 2 waiting\n"
    early = tmp_path / "early.md"
    (output, errors), code = batch("status", "nightly", "--report", str(early))
    assert code == 4, errors
    assert "2 of 2 waiting" in early.read_text(encoding="utf-8")
    report = tmp_path / "junit.xml"
    (output, errors), code = batch("work", "nightly", "--report", str(report))
    assert code == 1, errors
    assert "Returns" in output
    assert output.endswith("Batch nightly, over, 0 workers: 1 succeeded, 1 failed\n")
    assert "<testsuite" in report.read_text(encoding="utf-8")
    page = tmp_path / "report.html"
    (output, _), code = batch("status", "nightly", "--report", str(page), "--json")
    assert code == 1
    assert json.loads(output)["isOver"] is True
    assert page.exists()
    (output, _), code = batch("status", "nightly", "--watch")
    assert "over" in output
    assert code == 1
    assert "It is kept as batch 1" in errors
    (output, _), code = finished("report", "nightly", "--json", python=None, **place)
    assert (json.loads(output)["summary"]["failed"], code) == (1, 1)
    (output, _), _ = finished("run", "--failed", "1", "--wait", "--json", python=None, **place)
    assert '"Returns"' in output
    assert '"Checkout"' not in output
    (_, errors), code = batch("work", "nightly")
    assert "It is kept" not in errors


def test_flaky_fails_where_it_is_to(batch: Command, testvibe_emulator: Emulator) -> None:
    """`--fail-on-flaky` holds for `batch work` and `batch status`; without it flaky passed."""

    def fail_first(run: dict[str, Any]) -> object:
        return run | ({"status": "failed"} if (run["runId"], run["status"]) == FIRST else {})

    testvibe_emulator.fail("list_runs", Fault.status(404))
    testvibe_emulator.fail("get_run", Fault.edit(fail_first))
    batch("start", "nightly", "Checkout", "--attempts", "2")
    (output, errors), code = batch("work", "nightly", "--fail-on-flaky")
    assert "1 flaky" in output
    assert code == 1, errors
    for options, expected in (((), 0), (("--fail-on-flaky",), 1)):
        _, code = batch("status", "nightly", *options)
        assert code == expected


def test_report_of_a_batch_downloads_nothing(batch: Command, tmp_path: Path) -> None:
    """`batch status` asks no service, so it refuses `--artifacts`."""
    batch("start", "nightly", "Checkout")
    (_, errors), code = batch("status", "nightly", "--artifacts", str(tmp_path / "failed"))
    assert "--artifacts" in errors
    assert code == 2


def test_cancel_resume_and_decide(batch: Command, tmp_path: Path) -> None:
    """Each acts on a batch in the file that is named, and says what it did."""
    db = ("--db", str(tmp_path / "mine.sqlite"))
    batch("start", "nightly", "Checkout", *db)
    (output, _), _ = batch("cancel", "nightly", *db)
    assert output == "Batch nightly, over, 0 workers: 1 skipped\n"
    (output, _), _ = batch("resume", "nightly", *db)
    assert output == "Batch nightly resumes with 1 feature.\n"
    (_, errors), _ = batch("status", "nightly", *db)
    assert f"batch work nightly --db {db[1]}" in errors
    (_, errors), code = batch("decide", "nightly", "drop", *db)
    assert "nothing is unknown in batch 'nightly'" in errors
    assert code == 2
    (_, errors), code = batch("decide", "nightly", "adopt", *db)
    assert "adopt and the id of a run" in errors
    assert code == 2


def test_ctrl_c(batch: Command, place: dict[str, str], testvibe_emulator: Emulator) -> None:
    """A worker that is stopped leaves at once, and what it had stays in flight for another."""
    batch("start", "nightly", "Wishlist")
    with started("batch", "work", "nightly", python=None, **place) as process:
        while "1 in flight" not in batch("status", "nightly")[0][0]:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert output == ""
    (shown, _), _ = batch("status", "nightly")
    assert shown == "Batch nightly, running, 0 workers: 1 in flight\n"
    assert testvibe_emulator.count("run_feature") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["status", "nope"], "there is no batch 'nope'"),
        (["work", "nightly", "--report", "x.doc"], "does not name the report's format"),
        (["status", "nightly", "--db", "mysql://x/y"], "a SQLite file or in postgresql://"),
    ],
)
def test_what_is_refused(batch: Command, words: list[str], sentence: str) -> None:
    """Each mistake is one sentence, and the exit code says that the call was wrong."""
    (_, errors), code = batch(*words)
    assert sentence in errors
    assert code == 2


def test_without_the_extra(batch: Command) -> None:
    """Where the extra is not installed, a sentence says how to install it."""
    program = (
        "import sys; sys.modules['sqlalchemy'] = None; "
        "from testvibe_async.cli import main; sys.argv[0] = 'testvibe-async'; main()"
    )
    (_, errors), code = batch("status", "nightly", python=("-c", program))
    assert "pip install 'testvibe-async[durable]'" in errors
    assert code == 2
