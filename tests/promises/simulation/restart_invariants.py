"""What holds at the end of a batch that was restarted, however often and whatever came between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from tests.promises.simulation.invariants import SLACK as SLACK_BEFORE
from tests.promises.simulation.invariants import (
    answers_the_request,
    effects,
    needed,
    no_generation_is_paid_twice,
)
from tests.promises.simulation.plan import GENERATIONS, NEIGHBOUR
from tests.promises.simulation.record import Intent, id_of
from testvibe_async import DispatchUnknownError, ObservationError, Run, RunRef, Verdict

if TYPE_CHECKING:
    from tests.promises.simulation.record import Id
    from tests.promises.simulation.restarts import Restarts
    from testvibe_async import BatchItem


SLACK = 4.0
"""Seconds by which times may differ: they are rounded, and requests take their time."""
A_COMMIT = 0.5
"""Seconds after which what the batch shows is on the disk."""


def check(world: Restarts) -> None:
    """Hold a schedule that is over against all that a restart may not do.

    Raises:
        AssertionError: What the batch did that it promises not to do.
    """
    _runs_are_free(world)
    no_generation_is_paid_twice(world)
    for item in world.items:
        _nothing_acts_again(world, item)
        _nothing_is_paid_beside_what_was_joined(world, item)
        _nothing_is_a_strangers(world, item)
        _ends_truly(world, item)
        _nothing_is_lost(world, item)
        _an_answer_is_kept(world, item)
    for item in world.items:
        world.seen[f"after restarts: {item.verdict}"] += 1


def _intent(world: Restarts, item: BatchItem[Any]) -> Intent:
    """Return what the batch may have dispatched for an item."""
    kind = "generation" if world.restarts.work in GENERATIONS else "run"
    return Intent(1, kind, str(item.feature), item.config)


def _runs_are_free(world: Restarts) -> None:
    """Expect a batch of runs to generate nothing."""
    kinds = {post.intent.kind for post in world.record.posts.values()}
    assert world.restarts.work in GENERATIONS or "generation" not in kinds, "a run cost credits"


def _nothing_acts_again(world: Restarts, item: BatchItem[Any]) -> None:
    intent = _intent(world, item)
    made = needed(world, intent)
    world.seen["a dispatch that acted"] += bool(made)
    at_most = 1
    if world.taken & {*made}:  # Both keys' dispatches are interchangeable.
        made, at_most = made + needed(world, evolve(intent, caller=NEIGHBOUR)), 2
    assert len(made) <= at_most, f"{intent} acted again across a restart: {made}"


def _nothing_is_paid_beside_what_was_joined(world: Restarts, item: BatchItem[Any]) -> None:
    """Expect no generation to be paid for once the batch had joined one of somebody else."""
    intent = _intent(world, item)
    paid = world.record.made(intent)
    for ref, first_at in world.shown[str(item.feature), item.config].items():
        name = id_of(ref)
        if isinstance(ref, RunRef) or name in world.record.owners:
            continue
        world.seen["a generation that was joined"] += 1
        posts = {post.made: post.at for post in world.record.of(intent)}
        on_disk = first_at + A_COMMIT + 2 * world.plan.disk_seconds
        later = [each for each in paid if posts[each] > on_disk]
        assert not later or _is_superseded(world, name), (
            f"{item.feature} was joined as {name}, and paid for as {later} across a restart"
        )


def _nothing_is_a_strangers(world: Restarts, item: BatchItem[Any]) -> None:
    """Expect the batch to take nothing for its own that somebody else started.

    Of what somebody started after a dispatch that was lost nobody can tell; and a generation in
    flight may be joined.
    """
    if item.ref is None:
        return
    name = id_of(item.ref)
    if any(post.mixed_up_with == name for post in world.record.of(_intent(world, item))):
        return  # The service itself named another.
    owner = world.record.owners.get(name)
    if owner is not None:
        is_ours = owner == _intent(world, item) or _is_neighbours(world, item, name)
        assert is_ours, f"{item.feature} has {name}, of {owner}"
        return
    if not isinstance(item.ref, RunRef):
        _was_in_flight(world, item, name)
        return
    run = world.service.emulator.runs[item.ref.run_id]
    config = item.config or "Default"
    is_of_it = (run.feature_name, run.config) == (item.feature, config)
    assert is_of_it, f"{item.feature}, {config} has {name}, of {run.feature_name}"
    world.seen["a stranger's run that passes for ours"] += 1
    is_in_time = _is_intended(world, "run", item, run.created_at)
    assert is_in_time or _was_left_out(world, item, run.id), (
        f"{item.feature}, {config} adopted {name}, which somebody else started"
    )


def _is_neighbours(world: Restarts, item: BatchItem[Any], name: Id) -> bool:
    """Say whether a run is that of the same request by another key, whose answer was lost too.

    The operations of two lost dispatches with one request are interchangeable.
    """
    posts = [post for post in world.record.posts.values() if post.made == name]
    asked = evolve(_intent(world, item), caller=NEIGHBOUR)
    is_lost = any(post.accepted_at is None or post.is_unreadable for post in posts)
    return is_lost and any(post.intent == asked for post in posts)


def _was_in_flight(world: Restarts, item: BatchItem[Any], name: Id) -> None:
    """Expect a stranger's generation to have been in flight when ours was refused, or lost."""
    generation = world.service.emulator.generations.get(str(name))
    assert generation is not None, f"{item.feature} has {name}, which nobody started in this world"
    posts = world.record.of(_intent(world, item))
    at_post = any(
        generation.created_at - SLACK <= post.at <= generation.finished_at + SLACK for post in posts
    )
    at_intent = _is_intended(world, "generation", item, generation.created_at)
    world.seen["a later generation of a stranger that was adopted"] += not (at_post or at_intent)


def _is_intended(world: Restarts, kind: str, item: BatchItem[Any], created_at: float) -> bool:
    """Say whether something was created after an intent of an item's.

    How long after that does not matter: no time of the service is compared with the client's.
    """
    config = item.config if kind == "run" else None
    return any(
        (each.kind, each.feature, each.config) == (kind, item.feature, config)
        and created_at >= world.service.time_of(each.intended_at) - SLACK_BEFORE
        for each in world.rows
        if not each.is_plan
    )


def _was_left_out(world: Restarts, item: BatchItem[Any], run_id: int) -> bool:
    """Say whether a list from right before a dispatch lacked a run that was there.

    It then passes for a later one.
    """
    times = [post.at for post in world.record.of(_intent(world, item))]
    lists = [
        each
        for each in world.record.lists
        if any(at - SLACK_BEFORE <= each.at <= at for at in times)
    ]
    newest = [max(map(int, each.ids), default=0) for each in lists]
    is_left_out = any(run_id > each for each in newest)
    world.seen["an old run that a list had left out"] += is_left_out
    return is_left_out


def _ends_truly(world: Restarts, item: BatchItem[Any]) -> None:
    """Expect an operation that was resumed to end with its true outcome."""
    if item.outcome is not None:
        assert item.ref is not None, f"{item.feature} has an outcome without an operation"
        name = id_of(item.ref)
        if isinstance(item.outcome, Run):
            answers_the_request(_intent(world, item), item.outcome)
        verdict = world.service.verdict(name)
        assert str(item.outcome.status) == verdict, (
            f"{name} is said to be {item.outcome.status} after a restart, and is {verdict}"
        )
        world.seen["an outcome after a restart"] += 1
        return
    is_open = item.verdict in {Verdict.IN_FLIGHT, Verdict.WAITING, Verdict.SKIPPED}
    assert not is_open, (
        f"{item.feature}, {item.config} is {item.verdict} at the end of the last batch"
    )
    if item.ref is not None and isinstance(item.error, ObservationError):
        name = id_of(item.ref)
        # What took its place may have no id yet, or may not be shown yet. It may itself queue,
        # without an id, for longer than an outage is tolerated.
        assert (
            world.record.is_mixed_up(name)
            or _is_superseded(world, name)
            or _has_acted_late(world, item, name)
            or world.plan.hides_ids != "shown"
        ), f"{name} was resumed, and ended with {item.error!r} in place of its outcome"


def _nothing_is_lost(world: Restarts, item: BatchItem[Any]) -> None:
    """Expect what a dispatch started to be the item's, or the item to be unknown."""
    made = effects(world, _intent(world, item))
    if {*made} <= world.taken or isinstance(item.error, DispatchUnknownError):
        return
    known = None if item.ref is None else id_of(item.ref)
    if any(post.mixed_up_with for post in world.record.of(_intent(world, item))):
        return  # The service itself named another.
    if known is not None and known not in world.record.owners:
        return  # A stranger's in place of ours: see `_nothing_is_a_strangers`.
    if known is not None and _is_neighbours(world, item, known):
        return
    assert known in made, (
        f"{item.feature}, {item.config} started {made}, and its item is {item.verdict} "
        f"with {known}: {item.error!r}"
    )


def _an_answer_is_kept(world: Restarts, item: BatchItem[Any]) -> None:
    """Expect an operation that an answer named to stay the item's, whatever is found later."""
    intent = _intent(world, item)
    for ref, first_at in world.shown[str(item.feature), item.config].items():
        posts = [post for post in world.record.of(intent) if post.made == id_of(ref)]
        is_answered = any(post.accepted_at and not post.is_unreadable for post in posts)
        on_disk = first_at + A_COMMIT + 2 * world.plan.disk_seconds
        if is_answered and world.last_shown[ref] > on_disk:
            world.seen["an answer that was kept"] += 1
            assert item.ref == ref, f"{intent} was answered with {ref}, and its item is {item}"


def _is_superseded(world: Restarts, name: Id) -> bool:
    """Say whether somebody else started a later generation of its feature."""
    return any(each.request_id not in world.record.owners for each in world.service.later(name))


def _has_acted_late(world: Restarts, item: BatchItem[Any], name: Id) -> bool:
    """Say whether the item's own lost request took effect after what had passed for its effect."""
    posts = world.record.of(_intent(world, item))
    lost = {post.made for post in posts if post.accepted_at is None}
    is_late = any(each.request_id in lost for each in world.service.later(name))
    world.seen["an own generation that replaced the one adopted"] += is_late
    return is_late
