"""The recordings of `tests/contract`, and what each of them dispatched."""

import json
from pathlib import Path
from urllib.parse import unquote

from testvibe_async.testing import Recording

FOLDER = Path(__file__).parents[1] / "contract" / "recordings"
RECORDINGS = sorted(path.stem for path in FOLDER.glob("*.json"))


def recording_of(name: str) -> Recording:
    return Recording.load(FOLDER / f"{name}.json")


def dispatch_in(recording: Recording, kind: str) -> tuple[str, str]:
    """Return the feature that was dispatched, and the status that it ended with."""
    post = next(each for each in recording.exchanges if each.operation == f"{kind}_feature")
    operation, member = {
        "run": ("get_run", "status"),
        "generate": ("get_generation_status", "featureStatus"),
    }[kind]
    feature = unquote(post.path.split("/")[4])
    statuses = [
        json.loads(each.answer)[member].lower()
        for each in recording.exchanges
        if each.operation == operation and each.status == 200
    ]
    ended = [status for status in statuses if status in {"failed", "passed"}] or ["generated"]
    return feature, ended[0]
