"""What a user of the command line sees where the service differs.

`python -m tests.surfaces.tolerance.transcripts` prints it. The commands are performed in this
process, on virtual time, against an emulator.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

from attrs import Factory, frozen

from tests.support.dialects import DIALECTS, Dialect
from tests.surfaces.tolerance.tolerance_stage import DRAFT, FAILING, Seen, emulator_of, type_command
from testvibe_async.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TRANSCRIPTS", "Transcript", "perform"]


@frozen(kw_only=True)
class Transcript:
    """Commands that are typed at one service."""

    commands: Sequence[Sequence[str]]
    dialect: Dialect = Factory(Dialect)
    has_lists: bool = True
    settings: Mapping[str, str] = Factory(dict[str, str])
    """The variables that are set in place of the emulator's own."""


_RUN = ("run", FAILING, "--wait")
_RUN_ALL = ("run", "--all", "--wait")

TRANSCRIPTS: Mapping[str, Transcript] = {
    "a list is missing": Transcript(commands=(_RUN_ALL, ("run", "Log*")), has_lists=False),
    "an assumed list is missing": Transcript(
        commands=(("runs", "list"),), dialect=DIALECTS["documented-routes-404"]
    ),
    "a login page": Transcript(
        commands=(("features", "list"), _RUN, ("generate", DRAFT, "--watch")),
        dialect=DIALECTS["login-page"],
    ),
    "a key with a line break": Transcript(
        commands=(("features", "list"),), settings={"TESTVIBE_API_KEY": "tvb_Emulator\nOnly"}
    ),
    "a 403 with Retry-After": Transcript(
        commands=(_RUN_ALL,), dialect=DIALECTS["rate-limit-403-retry-after"]
    ),
    "an unknown last word": Transcript(
        commands=(_RUN, _RUN_ALL), dialect=DIALECTS["other-end-words"]
    ),
    "a status in capitals": Transcript(commands=(_RUN_ALL,), dialect=DIALECTS["upper-case"]),
}
"""By what differs."""


def perform(transcript: Transcript) -> list[Seen]:
    """Perform the commands of a transcript, each at a service of its own."""
    return [_perform(transcript, words) for words in transcript.commands]


def _perform(transcript: Transcript, words: Sequence[str]) -> Seen:
    seen = Seen(emulator_of(transcript.dialect, lists=transcript.has_lists))

    async def main() -> None:
        async with seen.emulator:
            await type_command(seen, *words, settings=transcript.settings)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    return seen


def main() -> None:
    """Print all transcripts."""
    with TemporaryDirectory() as home:
        os.chdir(home)
        Path(".git").mkdir()
        with patch.dict(os.environ, {"HOME": home, "XDG_CONFIG_HOME": home}):
            for title, transcript in TRANSCRIPTS.items():
                sys.stdout.write(f"# {title}\n\n")
                for words, seen in zip(transcript.commands, perform(transcript), strict=True):
                    typed = " ".join(
                        f"'{word}'" if set(word) & set(" *") else word for word in words
                    )
                    sys.stdout.write(f"$ testvibe-async {typed}\n{seen.text.strip()}\n")
                    sys.stdout.write(f"[exit code {seen.code}]\n\n")


if __name__ == "__main__":
    main()
