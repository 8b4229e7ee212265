"""`testvibe-async configs`: the configurations that a run can have."""

from __future__ import annotations

from testvibe_async.cli.common import COMMON, Common, connected

__all__ = ["configs"]


async def configs(*, common: Common = COMMON) -> None:
    """List the project's run configurations.

    For example:

        testvibe-async configs
    """
    async with connected(common) as connection:
        found = await connection.project.list_configs()
    connection.output.document(found)
    connection.output.table(("Name", "Path"), [(each.name, each.path) for each in found])
