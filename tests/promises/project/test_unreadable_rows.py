"""Lists with rows that can't be read: they are reported, and no list passes for an empty one."""

from typing import Any

import pytest

from testvibe_async import MalformedResponseError, Project
from testvibe_async.testing import Emulator, Fault

TOO_MANY = 10
"""So many rows that can't be read are no accident."""


def _spoil(count: int) -> Fault:
    """Give so many rows, and no more than there are, an id that is none."""

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"id": "?"} if place < count else row for place, row in enumerate(rows)]

    return Fault.edit(change)


async def test_a_list_without_a_readable_row_is_an_error(
    emulator: Emulator, project: Project
) -> None:
    """Where no row can be read, the list raises: it is not empty."""
    emulator.fail("list_features", _spoil(1000))

    with pytest.raises(MalformedResponseError):
        await project.list_features()


async def test_a_row_that_cannot_be_read_is_reported(emulator: Emulator, project: Project) -> None:
    """One row that can't be read is missing from the list, which says so; the others are there."""
    names = [feature.name for feature in emulator.features.values()]
    emulator.fail("list_features", _spoil(1))

    rows = await project.list_features()

    assert [row.name for row in rows] == names[1:]
    assert len(rows.unreadable) == 1


async def test_many_rows_that_cannot_be_read_are_an_error(
    emulator: Emulator, project: Project
) -> None:
    """With ten rows that can't be read the list raises, though others could be."""
    for number in range(TOO_MANY):
        emulator.add_feature(f"Another {number}")
    emulator.fail("list_features", _spoil(TOO_MANY))

    with pytest.raises(MalformedResponseError):
        await project.list_features()
