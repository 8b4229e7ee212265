"""Generations: dispatch, progress, log, end, cancellation, credits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from .conftest import plain_scenario
from testvibe_async.testing import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

STATUS = {
    "featureId",
    "featureName",
    "featureStatus",
    "requestId",
    "runnerStarted",
    "overallStatus",
    "overallConclusion",
    "updatedUtc",
    "sections",
}
