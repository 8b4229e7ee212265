"""The jobs that the page of the command line shows for CI systems, and what the next job can do."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.surfaces.cli import test_batches
from tests.surfaces.cli.conftest import names_in, press_ctrl_c

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call
    from testvibe_async.testing import Emulator

PAGE = (Path(__file__).parents[3] / "testvibe_async/cli/README.md").read_text(encoding="utf-8")
GITHUB, GITLAB = (
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
)
STEPS: list[dict[str, Any]] = GITHUB["jobs"]["features"]["steps"]
SCRIPTS = {
    "GitHub": [step["run"] for step in STEPS if "run" in step],
    "GitLab": GITLAB["features"]["script"],
}
_, _, AFTER = PAGE.partition("**In the next job**")
NEXT = re.findall(r"^(testvibe-async .*?) +#", AFTER, re.MULTILINE)[:3]

SCENARIO = test_batches.SCENARIO


@pytest.fixture(autouse=True)
def _job(signed_in: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed_in
    monkeypatch.setenv("TESTVIBE_PROJECT", GITLAB["features"]["variables"]["TESTVIBE_PROJECT"])
    monkeypatch.setenv("XDG_STATE_HOME", str(Path.cwd() / ".state"))
    (Path.cwd() / "features").mkdir()


def command_of(script: list[str]) -> list[str]:
    """Return the words of the only command of a job that is this package's."""
    (line,) = (line for line in script if line.startswith("testvibe-async "))
    return shlex.split(line)[1:]


def move_to_the_next_job(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Begin a job on another machine: nothing is there but what was cached."""
    shutil.copytree(".state", folder / ".state")
    shutil.rmtree(Path.cwd())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / ".state"))


@pytest.mark.parametrize("system", SCRIPTS)
async def test_job_of_the_page(system: str, call: Call) -> None:
    """Its command runs as it stands, fails as the runs do, and leaves what the job keeps."""
    ended = await call(*command_of(SCRIPTS[system]))
    assert ended.code == 1, ended.errors
    kept = [step["with"]["path"].split() for step in STEPS if "upload" in step.get("uses", "")]
    artifacts = GITLAB["features"]["artifacts"]
    paths = kept[0] if system == "GitHub" else [*artifacts["paths"], *artifacts["reports"].values()]
    assert sorted(paths) == ["failed", "junit.xml"]
    assert {*paths} <= {*names_in(Path())}


def test_jobs_keep_the_state_folder_whatever_becomes_of_them() -> None:
    """What is cached is where the journals are, and a failure is no reason not to."""
    job, caches = GITHUB["jobs"]["features"], [s for s in STEPS if "cache" in s.get("uses", "")]
    assert job["env"]["XDG_STATE_HOME"] == "${{ github.workspace }}/.state"
    assert [step["with"]["path"] for step in caches] == [".state", ".state"]
    assert caches[1]["if"] == "always()"
    own = GITLAB["features"]
    assert own["variables"]["XDG_STATE_HOME"] == "$CI_PROJECT_DIR/.state"
    assert own["cache"] == {"key": "testvibe", "paths": [".state"], "when": "always"}


async def test_next_job_goes_on(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a job that was cancelled, the commands of the page work with what was cached."""
    press_ctrl_c(10)
    assert (await call(*command_of(SCRIPTS["GitHub"]))).code == 130
    (tmp_path / "next").mkdir()
    move_to_the_next_job(monkeypatch, tmp_path / "next")
    resume, failed, history = (shlex.split(line)[1:] for line in NEXT)
    assert (await call(*resume)).code == 1
    assert "junit.xml" in names_in(Path())
    ended = await call(*failed)
    assert ended.code == 1
    assert ended.output.endswith(": 1 failed\n")
    ended = await call(*history)
    (line,) = [line for line in ended.lines if "\t" in line]
    assert line.startswith("1  ")  # The rerun is part of it.


async def test_settings_say_where_journals_are(call: Call) -> None:
    """The folder to cache is one line of `settings`."""
    folder = Path.cwd() / ".state" / "testvibe-async" / "batches"
    assert f"The journals of your batches are in {folder}.\n" in (await call("settings")).errors
    assert f'"journals": "{folder}"' in (await call("settings --json")).output
