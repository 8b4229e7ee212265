import asyncio


async def test_one(project, emulator):
    op = await project.run_feature("Checkout")
    run = await op
    assert asyncio.get_running_loop().time() > 5
    assert run.is_finished
    assert emulator.count("get_run") > 3
