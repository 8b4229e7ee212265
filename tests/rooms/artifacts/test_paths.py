"""Artifact paths are hostile: whatever they hold, a file ends up below its directory, alone."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testvibe_async._core.artifacts.paths import MAX_BYTES, safe_paths

RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"
}

# Pieces that meet each other often, beside any text at all.
_letters = [*"aAbKüßİﬁ℀/\\. ", "\u017f", "\u0131", "\0", "\ud800"]
_names = ["", "..", "a-2", "a.png", "A.PNG", "U\u0308", "SS", "C:", "con", "NUL.txt", "x" * 300]
_pieces = st.sampled_from(_letters + _names)
_text = st.text(max_size=12) | st.text(st.characters(), max_size=4)
paths = st.lists(_pieces | _text, max_size=5).map("/".join) | st.lists(_pieces | _text).map("".join)


def one(path: str) -> str:
    """Return what becomes of a single path."""
    (safe,) = safe_paths([path])
    return safe


def check_inside(path: str) -> None:
    """Check that a path leads down, on any system, and that any file system takes it."""
    assert path.encode()
    for kind in (PurePosixPath, PureWindowsPath):
        assert not kind(path).is_absolute()
        assert not kind(path).anchor
        assert kind("/below", path).parts[-len(path.split("/")) :] == tuple(path.split("/"))
    for name in path.split("/"):
        assert name
        assert name.isprintable()
        assert not name.startswith(".")
        assert not name.endswith((".", " "))
        assert not set(name) & set('\\<>:"|?*')
        assert name.partition(".")[0].rstrip(" ").upper() not in RESERVED
        assert len(name.encode()) <= MAX_BYTES


def check_apart(safe: list[str]) -> None:
    """Check that no file is another, or a directory above another, on any file system."""
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        for fold in (str, str.casefold, str.upper, str.lower):
            # A slash that a form makes, as of ℀, divides nothing.
            files = {
                "/".join(
                    unicodedata.normalize(form, fold(name)).replace("/", ":")
                    for name in path.split("/")
                )
                for path in safe
            }
            assert len(files) == len(safe)
            assert not files & {
                path[:place] for path in files for place, char in enumerate(path) if char == "/"
            }


@settings(deadline=None)  # it compares in sixteen ways, which takes a while on a busy machine
@given(st.lists(paths, max_size=12))
@example(["a", "a/b", "a/c", "A", "a-2", "a-2/b"])
@example(["a.png", "A.png", "a-2.png", "a.png"])
@example(["../../etc/passwd", "etc/passwd", "/etc/passwd"])
@example(["K", "\u212a", "k", "\u017f", "s", "ß", "ss", "SS", "ẞ"])
@example(["a", "℀"])
@example(["\u0131", "\U0001d6a4"])
@example(["<\u0338", "\u0958" * 85, "x" * 255, "x" * 256])
@example(["con" + " " * 300 + "x", "a" + "." * 300 + "x"])
@example(["a", "a-3", "a", "a-6", "a-9"])
def test_every_path_is_below_its_directory_and_alone_there(hostile: list[str]) -> None:
    """Whatever a list of paths holds, each leads down, and no two meet on any file system."""
    safe = safe_paths(hostile)
    assert len(safe) == len(hostile)
    for path in safe:
        check_inside(path)
    check_apart(safe)


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a/../../b", "a/_/_/b"),
        ("a/./b//c/", "a/b/c"),
        ("C:\\Windows\\win.ini", "C_/Windows/win.ini"),
        ("C:win.ini", "C_win.ini"),
        ("\\\\server\\share\\x", "server/share/x"),
        ("\\\\?\\C:\\x", "_/C_/x"),
        ("file.txt:stream", "file.txt_stream"),
        ("a\0b", "a_b"),
        ("a\r\n\x1b[31mb", "a___[31mb"),
        ("gnp.\u202eexe", "gnp._exe"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("aux .png", "_aux .png"),
        ("Lpt\u00b9.log", "_Lpt\u00b9.log"),
        ("console.txt", "console.txt"),
        ("trailing. . ", "trailing"),
        ("...", "_"),
        ("", "_"),
        (".", "_"),
        ("/", "_"),
        (".git/hooks/pre-commit", "_git/hooks/pre-commit"),
        ("\ud800.png", "_.png"),
        ("U\u0308.png", "\u00dc.png"),
        ("ログイン.zip", "ログイン.zip"),
    ],
)
def test_a_hostile_path_becomes_a_name(path: str, safe: str) -> None:
    """What leads elsewhere, or what some system refuses, is no more than a part of a name."""
    assert one(path) == safe


def test_long_lists_of_equal_paths_and_beginnings_are_distinguished() -> None:
    """Very many paths that are all the same, or are once they are cut, get a number each."""
    safe = safe_paths(["a", *["a/b"] * 500, *["a"] * 500])
    assert len(set(safe)) == 1_001
    assert safe[-1] == "a-1001"
    paths = [f"{'X' * 251}{number:04}" for number in range(300)]
    safe = safe_paths(["x" * 255, "X" * 255, *paths])
    assert len({path.casefold() for path in safe}) == 302
    assert all(len(path) <= MAX_BYTES for path in safe)


LONG = ["a/" * 5_000, "ロ/" * 150, "a/" * 8, "€" * 80 + "/" + "ü" * 100 + "/" + "€" * 80 + "/"]


@pytest.mark.parametrize("folders", LONG)
def test_a_path_that_is_too_long_keeps_its_last_name(folders: str) -> None:
    """A path of too many directories or bytes becomes its name, and further ones get a number."""
    assert safe_paths([f"{folders}x.png", f"b/{folders}x.png"]) == ["x.png", "x-2.png"]
