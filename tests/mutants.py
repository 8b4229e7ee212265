"""Mutation testing of a sample of the core, as a command: which changes the tests notice.

    python -m tests.mutants [--lines 15] [--seed 1] [--rooms _core/ledger] [--tests tests/promises]

Each mutant is one statement that is left out, negated or returns nothing, or one operator that is
another. They are drawn anywhere in the core, the same for each seed, and are tried one at a time on
a copy of the working tree, in which the tests must pass first. What is printed of each is whether a
test noticed it, and which.
"""

import ast
import random
import re
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen

ROOT = Path(__file__).parent.parent
PACKAGE = "testvibe_async"
ELSEWHERE = {"cli", "mcp_server", "pytest_plugin", "reports", "runner", "testing"}
"""What is no part of the core."""

SECONDS = 600.0
"""How long the tests may take with one mutant; longer counts as noticed."""

PAIRS: tuple[tuple[type[Any], type[Any]], ...] = (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot)),
    *((ast.In, ast.NotIn), (ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.Div)),
)
OTHER: dict[Any, Any] = dict(PAIRS) | {other: one for one, other in PAIRS}
"""What an operator is made."""


@frozen
class Mutant:
    """One statement of the core, and what stands in its place."""

    path: Path
    """Below the project's folder."""
    before: str
    after: str
    first: int
    """The index of the first line that is replaced."""
    last: int
    """The index after the last one."""

    def apply(self, folder: Path) -> None:
        """Put it into the file."""
        lines = (folder / self.path).read_text("utf-8").splitlines(keepends=True)
        lines[self.first : self.last] = [self.after + "\n"]
        (folder / self.path).write_text("".join(lines), "utf-8")


def mutants(folder: Path, rooms: Sequence[str] = ()) -> list[Mutant]:
    """Return all mutants of the core, or of some of its rooms."""
    found: list[Mutant] = []
    for path in sorted((folder / PACKAGE).rglob("*.py")):
        within = path.relative_to(folder / PACKAGE)
        is_meant = not rooms or any(within.is_relative_to(room) for room in rooms)
        if ELSEWHERE.isdisjoint(within.parts) and is_meant:
            found += _mutants_of(path.relative_to(folder), path.read_text("utf-8"))
    return found


def _mutants_of(path: Path, text: str) -> Iterator[Mutant]:
    lines = text.splitlines()
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for statement in ast.walk(function):
            if not isinstance(statement, ast.stmt) or statement is function:
                continue
            first = statement.lineno - 1
            indent = " " * statement.col_offset
            if lines[first][: statement.col_offset].strip():
                continue  # Something else stands before it in its line, such as `elif`.
            for after, last in _changed(statement):
                yield Mutant(path, lines[first].strip(), indent + after, first, last)


def _changed(statement: ast.stmt) -> Iterator[tuple[str, int]]:
    """Return what may stand in place of a statement, and before which line that ends."""
    end = statement.end_lineno or statement.lineno
    match statement:
        case ast.Expr(value=ast.Constant()) | ast.Pass():
            return  # a docstring
        case ast.Return(value=ast.expr() as value):
            if ast.unparse(value) not in {"None", "self"}:
                yield "return None", end
        case ast.If(test=test) | ast.While(test=test):
            word = "if" if isinstance(statement, ast.If) else "while"
            end = test.end_lineno or test.lineno
            yield f"{word} not ({ast.unparse(test)}):", end
            yield from ((f"{word} {each}:", end) for each in _other_operators(test))
            return
        case ast.Assign() | ast.AugAssign() | ast.Expr() | ast.Raise() | ast.Delete():
            yield "pass", end
        case _:
            return
    yield from ((each, end) for each in _other_operators(statement))


def _other_operators(tree: ast.AST) -> Iterator[str]:
    """Return a tree as text, each time with one operator that is another."""
    for node in ast.walk(tree):
        members = vars(node)
        if type(joins := members.get("op")) in OTHER:
            members["op"] = OTHER[type(joins)]()
            yield ast.unparse(tree)
            members["op"] = joins
        if type(compares := (members.get("ops") or [None])[0]) in OTHER:
            members["ops"][0] = OTHER[type(compares)]()
            yield ast.unparse(tree)
            members["ops"][0] = compares


@contextmanager
def copy_of_the_project() -> Generator[Path]:
    """Copy the working tree to a folder of its own."""
    with TemporaryDirectory(prefix="testvibe_async mutants ") as name:
        folder = Path(name) / "project"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", "*_*cache*"))
        yield folder


def failing_test(folder: Path, tests: Sequence[str]) -> str | None:
    """Return the first test that fails in a copy of the project; None where all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
    try:
        ended = subprocess.run(  # noqa: S603 - ours
            [*command, *tests],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"nothing ended within {SECONDS:g} s"
    if ended.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ended.stdout, re.MULTILINE)
    return failed[1] if failed else (ended.stdout + ended.stderr).strip().splitlines()[-1]


def main() -> None:
    """Try a sample of mutants one by one, and print which are noticed."""
    parser = ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--lines", type=int, default=15, help="how many; 15 by default")
    parser.add_argument("--seed", type=int, default=1, help="of the sample; 1 by default")
    parser.add_argument(
        "--rooms", nargs="*", default=(), help="such as _core/ledger; all by default"
    )
    parser.add_argument("--tests", nargs="+", default=["tests/promises"])
    asked = parser.parse_args()
    with copy_of_the_project() as folder:
        choose = random.Random(asked.seed)  # noqa: S311 - draws a sample, guards nothing
        seen = 0
        if (fails := failing_test(folder, asked.tests)) is not None:  # It would "see" each mutant.
            parser.error(f"the tests fail without a mutant: {fails}")
        for mutant in choose.sample(mutants(folder, asked.rooms), asked.lines):
            source = (folder / mutant.path).read_text("utf-8")
            mutant.apply(folder)
            began = time.monotonic()
            noticed_by = failing_test(folder, asked.tests)
            (folder / mutant.path).write_text(source, "utf-8")
            seen += noticed_by is not None
            print(
                f"{'seen' if noticed_by else 'NOT SEEN'} in {time.monotonic() - began:.0f} s: "
                f"{mutant.path}:{mutant.first + 1}: {mutant.before}  ->  {mutant.after.strip()}"
                f"{f'  ({noticed_by})' if noticed_by else ''}",
                flush=True,
            )
        print(f"{seen} of {asked.lines} mutants were seen")


if __name__ == "__main__":
    main()
