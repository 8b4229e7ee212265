"""The client's process: `python -m benchmarks.worker SPEC SERVICE`, started by `trial`.

It opens one contender, warms it up (modules imported, connections open), writes `ready`, waits for
a line, and then measures the work. Its last line is the measurement.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CONNECTIONS, Service, load
from benchmarks.measure import Meter, StallSelector
from benchmarks.spec import Spec

if TYPE_CHECKING:
    from benchmarks.contenders import FanOut

__all__ = ["COLLECTORS"]


def _freeze() -> None:
    """Leave out of all passes what the start made."""
    gc.collect()
    gc.freeze()


def _freeze_and_collect_rarely() -> None:
    _freeze()
    gc.set_threshold(50_000, 20, 100)


COLLECTORS = {
    "as it is": lambda: None,
    "`gc.freeze()`": _freeze,
    "`gc.freeze()`, `gc.set_threshold(50_000, 20, 100)`": _freeze_and_collect_rarely,
    "`gc.disable()`": gc.disable,
}
"""The ways to set the garbage collector, once all is imported and connected."""


async def _work(spec: Spec, description: dict[str, Any], selector: StallSelector) -> dict[str, Any]:
    service = Service(description["url"], description["api_key"], description["project"])
    contend = load(spec.contender)
    async with contend(service, spec.load.interval) as fan_out:
        await fan_out([description["warm_up"]] * CONNECTIONS, lambda _run, _status: None)
        offered: list[int] = description["features"]
        features = list(islice(cycle(offered), spec.load.operations))
        COLLECTORS[spec.collector]()
        sys.stdout.write('"ready"\n')
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        return await _measured(fan_out, features, Meter(selector))


async def _measured(fan_out: FanOut, features: list[int], meter: Meter) -> dict[str, Any]:
    meter.start()
    outcomes = await fan_out(features, meter.seen)
    measured = meter.stop()
    return measured | {"returned": len(outcomes)}


if __name__ == "__main__":
    spec = Spec.from_json(sys.argv[1])
    if not spec.opentelemetry:
        sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # nobody has imported it
    selector = StallSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        work = _work(spec, json.loads(sys.argv[2]), selector)
        result = runner.run(work)
    sys.stdout.write(json.dumps(result) + "\n")
