"""The session's batch in the ledger: what it keeps, and what another session with its key does."""

from pathlib import Path

import anyio
import pytest

from tests.support.inner_pytest import Inner, end_together, endless, finish, polled, shows
from testvibe_async import SqliteLedger, StoredBatch, Verdict
from testvibe_async.testing import Emulator

KEY = "--testvibe-key=ci-7"


def stored(file: Path) -> list[StoredBatch]:
    """Return the batches of a ledger file, the latest first."""

    async def read() -> list[StoredBatch]:
        ledger = SqliteLedger(file)
        try:
            return await StoredBatch.all(ledger)
        finally:
            await ledger.aclose()

    return anyio.run(read)


def test_a_session_is_one_batch(inner: Inner, service: Emulator, tmp_path: Path) -> None:
    """Features and marked tests are in one batch, which has their outcomes and the quarantine."""
    inner.marked('"Login", config="Mobile"', body="assert testvibe_run.is_success")
    inner.features(KEY, "--testvibe-attempts=2")

    (batch,) = stored(tmp_path / "ledger.sqlite")
    assert (batch.key, batch.attempts, batch.is_over) == ("ci-7", 2, True)
    assert {(item.feature, item.config): item.verdict for item in batch.items} == {
        ("Login", "Mobile"): Verdict.SUCCEEDED,
        ("Login", None): Verdict.SUCCEEDED,
        ("Checkout", None): Verdict.SUCCEEDED,
        ("Returns", None): Verdict.FAILED,
    }
    assert batch.options["spec"]["attempts"] == 2
    assert batch.options["spec"]["quarantine"]["entries"] == []
    assert len(service.runs) == 5


@endless
def test_the_same_key_resumes_a_session(inner: Inner, service: Emulator) -> None:
    """Runs that a session left in flight are waited for, and not dispatched again."""
    inner.features(KEY, time_out=polled(service, 3)).assert_outcomes(failed=3)
    finish(service)
    inner.features(KEY).assert_outcomes(passed=2, failed=2)
    assert len(service.runs) == 3

    end_together(service, 6)
    inner.features().assert_outcomes(passed=2, failed=2)
    assert len(service.runs) == 6


def test_a_key_is_that_of_its_features(inner: Inner, service: Emulator) -> None:
    """A session with the key of another and other features fails: it would show old results."""
    inner.feature("Login", KEY).assert_outcomes(passed=1)
    shows(inner.features(KEY), "key 'ci-7' is that of a batch of 1 other jobs: *", failed=3)
    assert len(service.runs) == 1


def test_a_ledger_without_a_place_is_reported(
    inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If the folder can't be made, the session says how to name another file."""
    monkeypatch.delenv("TESTVIBE_LEDGER")
    tmp_path.joinpath("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    result = inner.features()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: testvibe: name a file * with TESTVIBE_LEDGER: *"])
    assert service.requests == []


def test_one_feature_under_two_names_is_no_pass(inner: Inner, service: Emulator) -> None:
    """A test whose feature the batch took for that of another test has an error."""
    number = service.features["Login"].id
    inner.marked('"Login"', f'"{number}"', body="assert testvibe_run.is_success")
    shows(inner(), "*it is the feature of another test*", passed=1, errors=1)
    assert len(service.runs) == 1
