"""Build the packages, and use each extra of the wheel alone: `python -m tests.processes.packaging`.

Each extra is installed in a virtual environment of its own, and used by a script of `surfaces` from
an empty folder, where nothing of the repository can be imported. It needs a package index.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[3]
SURFACES = Path(__file__).parent / "surfaces"

MAX_BYTES = {".whl": 800_000, ".gz": 1_500_000}
"""More than either has: a picture, a result or a cache slipped in."""

IN_WHEEL = {
    "testvibe_async/py.typed",
    "testvibe_async/README.md",
    "testvibe_async/_core/wire/openapi.json",
    "testvibe_async/cli/README.md",
    "testvibe_async/reports/template/page.html",
    "testvibe_async/testing/shop/checkout.feature",
}
IN_SDIST = IN_WHEEL | {
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    ".ci/run",
    ".github/CONTRIBUTING.md",
    "benchmarks/RESULTS.md",
    "tests/surfaces/pages/test_readme.py",
}
NEVER = ("__pycache__", ".pyc", ".venv", ".coverage", ".hypothesis")


def main() -> None:
    """Build, look inside, and try each extra."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        # By uv, since pip would take most of the time.
        done("-m", "build", "--installer=uv", f"--outdir={folder}", str(ROOT), cwd=folder)
        (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
        with zipfile.ZipFile(wheel) as archive:
            look_inside(wheel, archive.namelist(), IN_WHEEL)
        with tarfile.open(sdist) as archive:
            names = [each.partition("/")[2] for each in archive.getnames()]
            look_inside(sdist, names, IN_SDIST)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            scripts = sorted(SURFACES.glob("[!_]*.py"))
            for line in pool.map(partial(use, wheel), scripts):
                print(line)


def look_inside(path: Path, names: list[str], needed: set[str]) -> None:
    """Check what an archive holds, and its size."""
    size = path.stat().st_size
    print(f"{path.name}: {len(names)} files, {size:,} bytes")
    assert needed <= set(names), f"{path.name} lacks {sorted(needed - set(names))}"
    odd = [name for name in names if any(part in name for part in NEVER)]
    assert not odd, f"{path.name} holds {odd[:5]}"
    assert size <= MAX_BYTES[path.suffix], f"{path.name} has {size:,} bytes"
    assert path.suffix != ".whl" or not any(name.startswith("tests/") for name in names)


def use(wheel: Path, script: Path) -> str:
    """Install the extra that a script is named after, alone, and run the script."""
    extra = "" if script.stem == "library" else f"[{script.stem}]"
    with TemporaryDirectory() as name:
        folder = Path(name)
        done("-m", "uv", "venv", "-q", "venv", cwd=folder)
        python = next(
            path
            for path in (folder / "venv/bin/python", folder / "venv/Scripts/python.exe")
            if path.exists()
        )
        target = f"--python={python}"
        done("-m", "uv", "pip", "install", "-q", target, f"{wheel}{extra}", cwd=folder)
        done("-m", "uv", "pip", "check", "-q", target, cwd=folder)
        # The environment of somebody who has never used any of this.
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
        said = done("-I", str(script), python=str(python), cwd=folder, **home)
    return f"{wheel.name}{extra}: {said.strip()}"


def done(*arguments: str, cwd: Path, python: str = sys.executable, **variables: str) -> str:
    """Run Python to its end, and return what it printed."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TESTVIBE_")}
    ended = subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env=own | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not ended.returncode, f"{arguments}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


if __name__ == "__main__":
    main()
