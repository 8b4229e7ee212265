"""The description of a batch, before anything is dispatched."""

from typing import Any

import pytest

from testvibe_async.errors import ConfigError
from testvibe_async.runner.spec import BatchSpec


@pytest.mark.parametrize("asked", [{"attempts": 2}, {"repeat": 2}])
def test_generations_are_not_repeated(asked: Any) -> None:
    """Further attempts and repetitions are those of runs; of generations they are refused."""
    BatchSpec(kind="run", **asked)
    with pytest.raises(ConfigError, match="generations take no"):
        BatchSpec(kind="generation", **asked)
