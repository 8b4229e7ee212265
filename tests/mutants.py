"""Mutation testing of a sample: how many changes of the core the tests notice, as a command.

    python -m tests.mutants [--each 60] [--seed 1] [--tests tests/promises]
    python -m tests.mutants --lines 15 [--seed 1] [--tests tests/promises]

The first draws as many of mutmut's mutants from each room of the core as `--each` says, the same
for each seed, and prints the share that the tests caught, then the survivors by kind, each with its
difference. The second breaks single lines anywhere in the core, one at a time, and prints which
were noticed, and by which test. Both work on a copy of the working tree; one process runs.
"""

import ast
import random
import re
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

ROOT = Path(__file__).parent.parent
PACKAGE = "testvibe_async"
ELSEWHERE = {"adapters", "cli", "mcp_server", "pytest_plugin", "reports", "runner", "testing"}
"""What is no part of the core, or is tested in processes of its own."""

TESTS = ("tests/promises",)

UNCHECKED = "not checked"
CAUGHT = {"killed", "timeout", "segfault"}

FEW_WORDS = 4
"""In how many words a line and one with another operator differ at most."""

LINE_SECONDS = 600.0
"""How long the tests may take with one broken line; longer counts as noticed."""


def mutmut(folder: Path, *arguments: str) -> str:
    """Run mutmut in a folder, and return what it prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    ended = subprocess.run(  # noqa: S603 - ours
        command, capture_output=True, text=True, check=False, cwd=folder
    )
    if ended.returncode and arguments[0] != "run":
        raise RuntimeError(ended.stderr)
    return ended.stdout + (ended.stderr if ended.returncode else "")


def results(folder: Path) -> dict[str, dict[str, str]]:
    """Return by room how each mutant ended."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in mutmut(folder, "results", "--all", "true").splitlines():
        name, _, status = line.strip().rpartition(": ")
        if name:
            found[name.split(".")[1]][name] = status
    return found


@contextmanager
def copy_of_the_project(tests: Sequence[str]) -> Generator[Path]:
    """Copy the working tree to a folder of its own, with these tests for mutmut."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],  # noqa: S607 - of the caller's path
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    with TemporaryDirectory(prefix="testvibe_async mutants ") as name:
        folder = Path(name)
        for path in filter(None, listed.split("\0")):
            if (ROOT / path).is_file():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, folder / path)
        settings = folder / "pyproject.toml"
        selection = ", ".join(f'"{each}"' for each in tests)
        text = re.sub(
            r"^pytest_add_cli_args_test_selection = \[[^\]]*\]",
            f"pytest_add_cli_args_test_selection = [{selection}]",
            settings.read_text("utf-8"),
            flags=re.MULTILINE,
        )
        # Of what mypy sees no test has to say anything. With `debug` it says which test fails.
        text = re.sub(r"^type_check_command = .*$", "debug = true", text, flags=re.MULTILINE)
        settings.write_text(text, "utf-8")
        yield folder


def kind_of(difference: str) -> str:
    """Return in a few words what a mutant changed, from its difference."""
    lines = difference.splitlines()
    removed = " ".join(line[1:].strip() for line in lines if re.match(r"-(?!--)", line))
    added = " ".join(line[1:].strip() for line in lines if re.match(r"\+(?!\+\+)", line))
    number, word = re.compile(r"\d+(\.\d+)?"), re.compile(r"\w+|\S")
    kinds = {
        "a text": "XX" in added or removed.casefold() == added.casefold(),
        "a log record or a span": re.search(r"\b(\w*logger|telemetry|trace|span)\b", removed),
        "a number": number.sub("", removed) == number.sub("", added),
        "None in place of a value": added.count("None") > removed.count("None"),
        "an argument left out": removed.count(",") > added.count(","),
        "an operator": len({*word.findall(removed)} ^ {*word.findall(added)}) <= FEW_WORDS,
        "another": True,
    }
    return next(kind for kind, is_of_kind in kinds.items() if is_of_kind)


def print_sample(tests: Sequence[str], *, each: int, seed: int, rooms: Sequence[str]) -> None:
    """Test a sample of mutants of each room, and print the scores and the survivors."""
    with copy_of_the_project(tests) as folder:
        # It makes the mutants, and learns which tests run which function.
        said = mutmut(folder, "run", "--max-children", "1", "none of them")
        if not (folder / "mutants" / "mutmut-stats.json").exists():
            failed = re.findall(r"^(?:FAILED|ERROR) .*", said, re.MULTILINE)
            raise RuntimeError(f"mutmut did not learn which tests run what: {failed or said}")
        choose = random.Random(seed)  # noqa: S311 - draws a sample, guards nothing
        chosen: set[str] = set()
        for room, mutants in sorted(results(folder).items()):
            if not rooms or room in rooms:
                chosen.update(choose.sample(sorted(mutants), min(each, len(mutants))))
        said = mutmut(folder, "run", "--max-children", "1", *sorted(chosen))
        ended = {
            name: status for mutants in results(folder).values() for name, status in mutants.items()
        }
        if {ended[name] for name in chosen} == {UNCHECKED}:
            raise RuntimeError(
                f"mutmut ran no test, most likely as one fails without a mutant: {said}"
            )
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        survivors = 0
        for room, mutants in sorted(results(folder).items()):
            ended = {name: status for name, status in mutants.items() if name in chosen}
            if not ended:
                continue
            left = [name for name, status in ended.items() if status not in CAUGHT]
            survivors += len(left)
            caught = len(ended) - len(left)
            print(f"{room}: {caught} of {len(ended)} caught, {caught / len(ended):.0%}")
            for name in left:
                difference = mutmut(folder, "show", name)
                by_kind[kind_of(difference)].append(f"{ended[name]}: {name}\n{difference}")
        caught = len(chosen) - survivors
        print(f"all: {caught} of {len(chosen)} caught, {caught / max(1, len(chosen)):.1%}")
        for kind, which in sorted(by_kind.items()):
            print(f"\nsurvivors, {kind}: {len(which)}\n" + "\n".join(which))


@frozen
class Breakage:
    """One statement of the core, and what stands in its place."""

    path: Path
    """Below the project's folder."""
    line: int
    before: str
    after: str
    first: int
    """The index of the first line that is replaced."""
    last: int
    """The index after the last one."""

    def apply(self, folder: Path) -> None:
        """Break the file."""
        lines = (folder / self.path).read_text("utf-8").splitlines(keepends=True)
        lines[self.first : self.last] = [self.after + "\n"]
        (folder / self.path).write_text("".join(lines), "utf-8")


def breakages(folder: Path) -> list[Breakage]:
    """Return each way to break one statement of a function of the core."""
    found: list[Breakage] = []
    for path in sorted((folder / PACKAGE).rglob("*.py")):
        if ELSEWHERE.isdisjoint(path.relative_to(folder / PACKAGE).parts):
            found += _breakages_of(path.relative_to(folder), path.read_text("utf-8"))
    return found


def _breakages_of(path: Path, text: str) -> list[Breakage]:
    lines = text.splitlines()
    found: list[Breakage] = []
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if function.name == "__repr__":
            continue
        for statement in ast.walk(function):
            if not isinstance(statement, ast.stmt) or statement is function:
                continue
            after, last = _broken(statement)
            if after is None:
                continue
            first = statement.lineno - 1
            indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
            if lines[first][: statement.col_offset].strip():
                continue  # Something else stands before it in its line, such as `elif`.
            found.append(
                Breakage(path, first + 1, lines[first].strip(), indent + after, first, last)
            )
    return found


def _broken(statement: ast.stmt) -> tuple[str | None, int]:
    """Return what to put in place of a statement, and before which line it ends."""
    end = statement.end_lineno or statement.lineno
    match statement:
        case ast.Expr(value=ast.Constant()) | ast.Pass():
            return None, end  # a docstring
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) not in {"None", "self"}:
            return "return None", end
        case ast.If(test=test) | ast.While(test=test):
            word = "if" if isinstance(statement, ast.If) else "while"
            return f"{word} not ({ast.unparse(test)}):", (test.end_lineno or test.lineno)
        case ast.Assign() | ast.AugAssign() | ast.Expr() | ast.Raise() | ast.Delete():
            return "pass", end
        case _:
            return None, end


def print_lines(tests: Sequence[str], *, count: int, seed: int) -> None:
    """Break lines of the core one by one, and print which the tests notice."""
    with copy_of_the_project(tests) as folder:
        choose = random.Random(seed)  # noqa: S311 - draws a sample, guards nothing
        chosen = choose.sample(breakages(folder), count)
        seen = 0
        for breakage in chosen:
            source = (folder / breakage.path).read_text("utf-8")
            breakage.apply(folder)
            began = time.monotonic()
            noticed_by = failing_test(folder, tests)
            (folder / breakage.path).write_text(source, "utf-8")
            seen += noticed_by is not None
            print(
                f"{'seen' if noticed_by else 'NOT SEEN'} in {time.monotonic() - began:.0f} s: "
                f"{breakage.path}:{breakage.line}: {breakage.before}  ->  "
                f"{breakage.after.strip()}" + (f"  ({noticed_by})" if noticed_by else ""),
                flush=True,
            )
        print(f"{seen} of {count} broken lines were seen")


def failing_test(folder: Path, tests: Sequence[str]) -> str | None:
    """Return the first test that fails in a copy of the project; None where all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
    command += ["-p", "no:randomly", *tests]
    try:
        ended = subprocess.run(  # noqa: S603 - ours
            command, capture_output=True, text=True, check=False, cwd=folder, timeout=LINE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"nothing ended within {LINE_SECONDS:g} s"
    if ended.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ended.stdout, re.MULTILINE)
    return failed[1] if failed else (ended.stdout + ended.stderr).strip().splitlines()[-1]


def main() -> None:
    """Do what was asked for."""
    parser = ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--each", type=int, default=60, help="mutants of each room; 60 by default")
    parser.add_argument("--rooms", nargs="*", default=(), help="such as _http; all by default")
    parser.add_argument("--lines", type=int, help="break so many lines instead")
    parser.add_argument("--seed", type=int, default=1, help="of the sample; 1 by default")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="tests/promises by default")
    asked = parser.parse_args()
    if asked.lines is not None:
        print_lines(asked.tests, count=asked.lines, seed=asked.seed)
    else:
        print_sample(asked.tests, each=asked.each, seed=asked.seed, rooms=asked.rooms)


if __name__ == "__main__":
    main()
