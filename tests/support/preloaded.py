"""All that a process of the tests may import: what `tests.support.processes` forks from."""

import gc
import importlib
import pkgutil
import threading

import testvibe_async

LEFT_OUT = (".__main__", ".pytest_plugin")
"""What runs when it is imported, or belongs to pytest."""

for module in pkgutil.walk_packages(testvibe_async.__path__, f"{testvibe_async.__name__}."):
    if not any(part in module.name for part in LEFT_OUT):
        importlib.import_module(module.name)

assert threading.active_count() == 1, "a thread is lost where a process forks"
gc.freeze()
