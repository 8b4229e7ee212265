"""Mutation testing of a sample: how many changes of the code the tests notice, as a command.

    python -m tests.mutants [--each 60] [--seed 1]

mutmut changes one expression at a time, in the packages that pyproject.toml names. Of each package
as many mutants are drawn as `--each` says, the same for each seed. It prints which share the tests
caught, and the mutants that survived: `mutmut show NAME` has their difference. It takes about
20 minutes on two cores, most of it for survivors, which all tests of their function let pass.
"""

from __future__ import annotations

import random
import subprocess
import sys
from argparse import ArgumentParser
from collections import defaultdict

PACKAGES = ("_wire", "_http", "_polling", "_dispatch", "_batch", "batch", "_journal", "journal")

CAUGHT = {"killed", "timeout", "segfault", "caught by type check"}


def mutmut(*arguments: str) -> str:
    """Run mutmut, and return what it prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if ended.returncode and arguments[0] != "run":
        raise RuntimeError(ended.stderr)
    return ended.stdout


def results() -> dict[str, dict[str, str]]:
    """Return by package how each mutant ended."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, status = line.strip().rpartition(": ")
        package = name.split(".")[1] if name else ""
        if package in PACKAGES:
            found[package][name] = status
    return found


def main() -> None:
    """Draw a sample, test it, and print the score of each package."""
    parser = ArgumentParser()
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    mutmut(
        "run", "none of them"
    )  # It makes the mutants, and learns which tests run which function.
    choose = random.Random(asked.seed)  # noqa: S311 - draws a sample, guards nothing
    chosen: list[str] = []
    for mutants in results().values():
        chosen += choose.sample(sorted(mutants), min(asked.each, len(mutants)))
    mutmut("run", *chosen)
    caught_in_all = 0
    for package, mutants in results().items():
        ended = {name: status for name, status in mutants.items() if name in set(chosen)}
        survivors = [name for name, status in ended.items() if status not in CAUGHT]
        caught = len(ended) - len(survivors)
        caught_in_all += caught
        print(f"{package}: {caught} of {len(ended)} caught, {caught / len(ended):.0%}")
        for name in survivors:
            print(f"  {ended[name]}: {name}")
    print(f"all: {caught_in_all} of {len(chosen)} caught, {caught_in_all / len(chosen):.1%}")


if __name__ == "__main__":
    main()
