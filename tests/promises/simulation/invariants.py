"""What holds at the end of every schedule, whatever happened in it.

The record says what the service really did. Each check is one promise of the client.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from tests.promises.simulation.process import MAX_OUTAGE
from tests.promises.simulation.record import Intent, id_of
from tests.support.seams import assert_released
from testvibe_async import (
    BatchItem,
    Generation,
    GenerationOperation,
    Phase,
    Run,
    RunOperation,
    Verdict,
    errors,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tests.promises.simulation.callers import Caller, Dispatching, Watch
    from tests.promises.simulation.process import Process
    from tests.promises.simulation.record import Id, Post
    from tests.promises.simulation.restarts import Restarts
    from tests.promises.simulation.world import World
    from testvibe_async import Ref, Transition

AnyWorld: TypeAlias = "World | Restarts"

RANKS = {Phase.QUEUED: 0, Phase.ACTIVE: 1, Phase.FINISHED: 2}
SLACK = 17.0
"""By how many seconds what another began may be earlier than a dispatch: the newest before it may
have been read 10 s earlier, from a replica that was behind."""
EXPIRES_AFTER = 64.0
"""Seconds from the arrival of a request after which it may be sent again, at least."""
LAST_POLL = 1.0
A_MOMENT = 0.5
"""Seconds that scheduling and the network may add."""
ROUNDING = 1e-9
"""Seconds by which sums of fractions of a second may differ."""


def none_hangs(waiting: Collection[asyncio.Task[None]]) -> None:
    """Expect every caller to end."""
    names = ", ".join(sorted(task.get_name() for task in waiting))
    assert not waiting, f"{names}: still waiting long after all faults were over"


def all_released(process: Process) -> None:
    """Expect a closed client to hold nothing any more."""
    assert_released(process.client, process.plan.max_connections)
    connector: Any = process.session.connector
    assert not connector._acquired, "a connection is still in use"


def check(world: World) -> None:
    """Hold a schedule that is over against all the others.

    Raises:
        AssertionError: What the client did that it promises not to do.
    """
    assert not world.record.late, f"sent after the close: {world.record.late}"
    _nothing_acts_twice(world)
    _only_generate_pays(world)
    _what_was_accepted_is_not_resent(world)
    _each_pause_is_kept(world)
    _nothing_is_lost(world, world.process)
    _what_is_adopted_is_ours(world, world.process)
    for event in world.process.transitions:
        _is_true(world, event.ref, event.transition)
    for caller in world.callers:
        _ends_as_expected(world, caller)
        for dispatching in caller.dispatchings:
            _is_done_refused_or_unknown(world, caller, dispatching)
        for watch in caller.watches:
            _says_what_was_seen(world, caller, watch)
        _each_watch_ends(world, caller)
    _forward_only(world.process.transitions)


def _nothing_acts_twice(world: World) -> None:
    wanted = {
        each.intent: each.acts_at_most for caller in world.callers for each in caller.dispatchings
    }
    for intent, at_most in wanted.items():
        made = needed(world, intent)
        # Where a lost dispatch took what another with one request began, both count together.
        others = [
            (each, times)
            for each, times in wanted.items()
            if each != intent
            and _request(each) == _request(intent)
            and {*made} & {id_of(event.ref) for event in world.process.dispatched[each.caller]}
        ]
        together = made + [name for each, _ in others for name in needed(world, each)]
        allowed = at_most + sum(times for _, times in others)
        assert len(together) <= allowed, f"{intent} took effect as {together}"
    no_generation_is_paid_twice(world)


def no_generation_is_paid_twice(world: AnyWorld) -> None:
    """Expect what costs credits to take effect once."""
    for intent in {post.intent for post in world.record.posts.values()}:
        if intent.kind == "generation":
            made = world.record.made(intent)
            assert len(made) <= 1, f"{intent} cost credits {len(made)} times"


def needed(world: AnyWorld, intent: Intent) -> list[Id]:
    """Return what a dispatch began, but for the runs that it had reason to repeat.

    Each of those had expired, and a whole list read since then showed nothing that could be it, or
    the service had named it as another's.
    """
    posts = [post for post in world.record.of(intent) if post.made is not None]
    repeated = [
        post
        for post in posts
        if any(each.at > post.at and _was_unseen(world, post, each.at) for each in posts)
        or (post.made is not None and world.record.is_mixed_up(post.made))
    ]
    world.seen["a run that acted twice, since it had expired unseen"] += len(repeated)
    times = [each.at for each in world.record.of(intent)]
    is_again = intent.kind == "run" and max(times, default=0.0) - min(times, default=0.0)
    world.seen["a run that was dispatched again once it had expired"] += is_again >= EXPIRES_AFTER
    return [post.made for post in posts if post.made is not None and post not in repeated]


def effects(world: AnyWorld, intent: Intent) -> list[Id]:
    """Return what a dispatch began, but for the runs that expired without being seen."""
    posts = world.record.of(intent)
    return [post.made for post in posts if post.made is not None and not _was_unseen(world, post)]


def _was_unseen(world: AnyWorld, post: Post, until: float = inf) -> bool:
    """Say whether a run had expired when the last whole list until a time showed none like it."""
    if post.intent.kind != "run":
        return False
    begin = post.at + EXPIRES_AFTER
    lists = [each for each in world.record.lists if begin <= each.at <= until and each.is_search]
    if until == inf:
        return any(not each.is_cut and post.made not in each.ids for each in lists)
    return bool(lists) and not lists[-1].is_cut and not _like(world, post) & lists[-1].ids


def _like(world: AnyWorld, post: Post) -> set[Id]:
    """Return the runs that could be that of a dispatch, as far as anybody can tell."""
    intent, owners = post.intent, world.record.owners
    return {
        run.id
        for run in world.service.emulator.runs.values()
        if (run.feature_name, run.config) == (intent.feature, intent.config or "Default")
        and run.created_at >= post.at
        and owners.get(run.id, post.intent) == post.intent
        and (run.id == post.made or run.id not in owners)
    }


def _only_generate_pays(world: World) -> None:
    """Expect each generation to be one that a caller wanted: a run generates nothing."""
    wanted = {each.intent for caller in world.callers for each in caller.dispatchings}
    for post in world.record.posts.values():
        is_wanted = post.intent.kind == "run" or post.intent in wanted
        assert is_wanted, f"{post.intent} cost credits, and nobody wanted it"


def _what_was_accepted_is_not_resent(world: World) -> None:
    """Expect a dispatch that had a 202 not to be sent again, unless its run is known to fail."""
    for caller in world.callers:
        for dispatching in caller.dispatchings:
            item = dispatching.result
            # A failed attempt is followed by another, which may be refused and have no outcome.
            attempts = item.attempts if isinstance(item, BatchItem) else ()
            ended = {outcome.run_id for outcome in attempts if outcome.is_failure}
            if ended - set(world.record.made(dispatching.intent)):
                continue  # A twin passed for it, and failed: see `_nobody_can_tell`.
            posts = world.record.of(dispatching.intent)
            for post in posts:
                if not post.is_unreadable or post.accepted_at is None or post.made in ended:
                    continue
                world.seen["a 202 that could not be read"] += 1
                again = [each for each in posts if each.at > post.accepted_at]
                assert not again, f"{post.intent} was accepted as {post.made}, and sent again"


def _each_pause_is_kept(world: World) -> None:
    for refused in world.record.posts.values():
        if refused.retry_after is None:
            continue
        for post in world.record.of(refused.intent):
            early = refused.answered_at < post.at < refused.answered_at + refused.retry_after
            if any(refused.answered_at <= at <= post.at for at in world.service.resets):
                continue  # The answer may not have arrived.
            if post.task != refused.task:
                continue  # Another call with the same key.
            if post.at > refused.answered_at:
                world.seen["a dispatch again after its Retry-After"] += 1
            assert not early, f"{post.intent} is sent again before its Retry-After is over"


def _nothing_is_lost(world: World, process: Process) -> None:
    """Expect each operation that a dispatch began to be told of, or its dispatch to be unknown."""
    for intent in {post.intent for post in world.record.posts.values()}:
        is_unknown = _is_unknown(process, intent)
        lost = set(effects(world, intent)) - _told(process, intent)
        if any(post.mixed_up_with for post in world.record.of(intent)):
            continue  # The service itself named another.
        events = process.dispatched[intent.caller]
        is_replaced = any(
            event.adopted and id_of(event.ref) not in world.record.made(intent)
            for event in events
            if (str(event.feature), event.config) == (intent.feature, intent.config)
        )
        may_act_again = any(
            dispatching.intent == intent and dispatching.acts_at_most > 1
            for caller in world.callers
            for dispatching in caller.dispatchings
        )
        assert not lost or is_unknown or may_act_again or is_replaced, (
            f"{intent} began {lost}, and nobody knows: {events}"
        )


def _is_unknown(process: Process, intent: Intent) -> bool:
    """Say whether a dispatch was told to be unknown."""
    asked_for = intent.kind, intent.feature, intent.config
    events = process.unknown[intent.caller]
    return any((each.kind, each.feature, each.config) == asked_for for each in events)


def _has_twin(world: World, process: Process, intent: Intent) -> bool:
    """Say whether a stranger's operation passed for a dispatch's, which began its own only later.

    That one is then as good as a stranger's: nobody waits for it.
    """
    return any(
        event.adopted
        and (str(event.feature), event.config) == (intent.feature, intent.config)
        and id_of(event.ref) not in world.record.owners
        for event in process.dispatched[intent.caller]
    )


def _told(process: Process, intent: Intent, *, but: int | None = None) -> set[Id]:
    """Return the operations that were reported of a request, by whichever caller but one.

    The operations of two lost dispatches with one request are interchangeable.
    """
    return {
        id_of(event.ref)
        for number, events in process.dispatched.items()
        for event in events
        if (event.ref.kind, str(event.feature), event.config) == _request(intent) and number != but
    }


def _request(intent: Intent) -> tuple[str, str, str | None]:
    return intent.kind, intent.feature, intent.config


def _what_is_adopted_is_ours(world: World, process: Process) -> None:
    owners = world.record.owners
    for number, events in process.dispatched.items():
        for event in events:
            name, owner = id_of(event.ref), owners.get(id_of(event.ref))
            intent = Intent(number, event.ref.kind, str(event.feature), event.config)
            if event.adopted:
                world.seen["an adoption"] += 1
                # What is reconciled after that comes from a list of the whole project.
            posts = world.record.of(intent)
            if owner == intent or any(post.mixed_up_with == name for post in posts):
                continue
            if not event.adopted:
                assert name in _told(process, intent), f"{intent} has {name} of nobody"
            is_free = (
                owner is None
                or _has_twin(world, process, owner)
                or _are_alike(world, process, intent, owner, name)
            )
            assert is_free, f"{intent} adopted {name}, which is of {owner}"
            _nobody_can_tell(world, process, intent, event.ref)


def _are_alike(world: World, process: Process, intent: Intent, owner: Intent, name: Id) -> bool:
    """Say whether two dispatches had one request, and the owner of an operation lost its answer."""
    is_lost = all(id_of(event.ref) != name for event in process.dispatched.get(owner.caller, ()))
    world.seen["an adoption of what is interchangeable"] += is_lost
    return is_lost and _request(intent) == _request(owner)


def _nobody_can_tell(world: World, process: Process, intent: Intent, ref: Ref) -> None:
    """Expect what a stranger began, and a dispatch adopted, to pass for its own.

    It did so where it is of the same feature, configuration and time, and no list that was served
    since shows both. That needs a stranger who dispatches the same within seconds of an answer that
    was lost: there is nothing in the service by which the two could be told apart.
    """
    world.seen["an adoption of a stranger's twin"] += 1
    name = id_of(ref)
    operation = world.service.operation(name)
    assert operation, f"{intent} adopted {name}, which nobody began in this world"
    assert ref.dispatched_at is not None
    is_recent = operation.created_at >= world.service.time_of(ref.dispatched_at) - SLACK
    assert is_recent, f"{intent} adopted {name}, which began long before it was sent"
    ours = set(world.record.made(intent)) - _told(process, intent)
    at = process.told_at[ref]
    lists = [each for each in world.record.lists if each.is_search and each.at <= at]
    both = ours & {each_id for each in lists[-1:] for each_id in each.ids}
    # Two lost dispatches with one request take the two runs that there are.
    requests = [_request(each) for each in {post.intent for post in world.record.posts.values()}]
    is_alone = requests.count(_request(intent)) == 1
    assert not (both and is_alone), f"{intent} adopted {name}, a list showed its own {both} beside"


def _ends_as_expected(world: World, caller: Caller) -> None:
    if caller.task.cancelled():
        assert caller.is_cancelled, f"caller {caller.number} was cancelled, and nobody asked for it"
        world.seen["a cancellation"] += 1
        if any(_was_cut_off(world, dispatching) for dispatching in caller.dispatchings):
            world.seen["a cancellation in mid-dispatch"] += 1
    elif (error := caller.task.exception()) is not None:
        raise error


def _was_cut_off(world: World, dispatching: Dispatching) -> bool:
    is_cancelled = isinstance(dispatching.result, asyncio.CancelledError)
    return is_cancelled and bool(world.record.of(dispatching.intent))


def _is_done_refused_or_unknown(world: World, caller: Caller, dispatching: Dispatching) -> None:
    intent, result = dispatching.intent, dispatching.result
    if isinstance(result, BatchItem):
        _item_is_right(world, caller, dispatching, result)
        return
    if isinstance(result, asyncio.CancelledError):
        return
    if result is None:
        assert caller.is_cancelled, f"{intent} came to nothing"
    elif isinstance(result, errors.DispatchUnknownError):
        _is_unknown_for_a_reason(world, caller, intent, result)
    elif isinstance(result, errors.VibeError):
        _did_nothing(world, caller.process, intent, result)
    elif isinstance(result, RunOperation) and result.outcome is not None:
        answers_the_request(intent, result.outcome)
    elif isinstance(result, GenerationOperation) and not world.record.made(intent):
        assert result.adopted, f"{intent} was never begun, and came to {result}"
        world.seen["a generation that was joined"] += 1
    else:
        assert not isinstance(result, BaseException), f"{intent} raised {result!r}"


def _is_unknown_for_a_reason(
    world: World, caller: Caller, intent: Intent, error: errors.DispatchUnknownError
) -> None:
    """Expect the error to say of what was polled what it really showed."""
    assert error.key, f"{error!r} does not say by which key it is decided"
    lost = set(effects(world, intent)) - _told(caller.process, intent)
    world.seen["an unknown dispatch that " + ("took effect" if lost else "did nothing")] += 1
    world.seen[f"unknown: {error.reason}"] += 1
    if lost:
        world.seen[f"unknown: {error.reason}, and it took effect"] += 1
    if error.reason == "accepted":
        is_accepted = any(post.accepted_at is not None for post in world.record.of(intent))
        assert is_accepted, f"{intent} is said to be accepted, and no answer said so: {error!r}"
    else:
        assert (error.polled_at is None) == (error.reason == "unseen"), f"{intent}: {error!r}"
    assert bool(error.candidates) == (error.reason == "ambiguous"), f"{intent}: {error!r}"
    names = {id_of(ref) for ref in error.candidates}
    assert names <= world.record.served.keys(), f"{intent}: {names} were never shown"
    if lost and error.reason == "absent" and intent.kind == "run":
        # A batch reconciles a lost answer once more, by a list that other tasks read too.
        sent = min(post.at for post in world.record.of(intent))
        lists = [each.ids for each in world.record.lists if each.at >= sent]
        without = [ids for ids in lists if not lost & ids]
        assert without, f"{intent}: each list showed {lost}, and the error says that none did"


def _did_nothing(world: World, process: Process, intent: Intent, error: errors.VibeError) -> None:
    """Expect a dispatch that is said to have failed to have had no effect.

    Of two lost dispatches of one request, either may have taken what the other began.
    """
    calls = [
        each for caller in world.callers for each in caller.dispatchings if each.intent == intent
    ]
    if len(calls) > 1:
        return  # Another call with the same key may have had it.
    taken = _told(process, intent, but=intent.caller)
    made = [each for each in effects(world, intent) if each not in taken]
    assert not made, f"{intent} took effect as {made}, and raised {error!r}"
    if isinstance(error, errors.NotSentError):
        world.seen["a dispatch that was not sent"] += 1
        open_ones = [post for post in world.record.of(intent) if not post.is_refused]
        assert not open_ones, f"{intent} reached the service, and raised {error!r}"


def _item_is_right(
    world: World, caller: Caller, dispatching: Dispatching, item: BatchItem[Any]
) -> None:
    intent, verdict = dispatching.intent, item.verdict
    others = _told(caller.process, intent, but=intent.caller)
    made = [each for each in effects(world, intent) if each not in others]
    if isinstance(item.error, errors.DispatchUnknownError):
        assert verdict is Verdict.UNKNOWN, f"{intent} is unknown, and its item {verdict}"
        _is_unknown_for_a_reason(world, caller, intent, item.error)
    elif item.ref is None and len(item.earlier) < len(made):
        assert caller.is_cancelled, f"{intent} began {made}, and its item says {item.error!r}"
    assert not isinstance(item.error, errors.OperationNotFoundError), f"{intent}: {item.error}"
    if item.is_flaky:
        world.seen["a run that passed at its second attempt"] += 1
    for outcome in (*item.earlier, item.outcome):
        if outcome is not None:
            _outcome_is_true(world, outcome.run_id, outcome)
            answers_the_request(intent, outcome)
    known = {each.run_id for each in (*item.earlier, item.outcome) if each is not None}
    runs = world.service.emulator.runs
    # As far as it was seen: in place of ours a stranger's may have been adopted, and have failed.
    again = [each for each in known if runs[int(each)].verdict != "failed"]
    assert len(again) <= 1, f"{intent} ran again though it passed: {made}"


def answers_the_request(intent: Intent, outcome: Run) -> None:
    """Expect no outcome of another feature, or of another configuration."""
    named = outcome.feature_name, outcome.config or intent.config or "Default"
    is_same = named == (intent.feature, intent.config or "Default")
    assert is_same, f"{intent} has the outcome of {named}"


def _each_watch_ends(world: World, caller: Caller) -> None:
    """Expect what is waited for again and again to end, however often that has timed out."""
    for operation in caller.operations:
        watches = [watch for watch in caller.watches if watch.operation is operation]
        if any(isinstance(watch.result, errors.WaitTimeoutError) for watch in watches[:-1]):
            world.seen["a wait that was resumed after a time-out"] += 1
        if world.record.is_mixed_up(id_of(operation.ref)):
            continue  # It is not what its answer said.
        is_final = not watches or isinstance(
            watches[-1].result, errors.ClientClosedError | errors.OperationSupersededError
        )
        assert operation.done or is_final or caller.is_cancelled, (
            f"{operation.ref}: it was resumed {len(watches)} times, and did not end: "
            f"{watches[-1].result!r}"
        )


def _says_what_was_seen(world: World, caller: Caller, watch: Watch) -> None:
    result, ref = watch.result, watch.operation.ref
    assert not watch.after_close, f"{ref}: a closed iteration went on with {watch.after_close}"
    world.seen["an iteration that was closed"] += watch.is_left
    ranks = [RANKS[transition.phase] for transition in watch.transitions]
    expected = sorted(ranks if watch.has_updates else set(ranks))
    assert ranks == expected, f"{ref} went back: {watch.transitions}"
    for transition in watch.transitions:
        _is_true(world, ref, transition)
    if watch.operation.outcome is not None:
        _outcome_is_true(world, id_of(ref), watch.operation.outcome)
    if isinstance(result, errors.VibeError):
        _error_is_right(world, watch, result)
    elif isinstance(result, Run | Generation):
        is_ended = result.is_finished or watch.is_poll
        assert is_ended, f"{ref}: a wait ended, and it is {result.status}"
    else:
        is_left = result is None or isinstance(result, asyncio.CancelledError)
        may_be_left = is_left and (caller.is_cancelled or watch.is_left)
        assert may_be_left, f"{ref}: a wait ended with {result!r}"


def _error_is_right(world: World, watch: Watch, error: errors.VibeError) -> None:
    ref, elapsed = watch.operation.ref, watch.ended - watch.began
    if isinstance(error, errors.WaitTimeoutError):
        timeout = watch.timeout
        assert timeout is not None
        # Virtual instants are sums of fractions, rounded like any.
        is_timely = timeout - ROUNDING <= elapsed <= timeout + LAST_POLL + A_MOMENT
        assert is_timely, f"{ref}: a wait for {timeout:g} s timed out after {elapsed:.3g} s"
    elif isinstance(error, errors.ClientClosedError):
        assert world.plan.close_at is not None, f"{ref}: {error}, which nobody did"
    elif isinstance(error, errors.OperationSupersededError):
        world.seen["a supersession"] += 1
        assert world.service.later(id_of(ref)), f"{ref}: {error}, and nothing did"
    elif isinstance(error, errors.ContradictionError):
        assert world.record.is_mixed_up(id_of(ref)), f"{ref}: {error}"
    else:
        assert type(error) is errors.ObservationError, f"{ref}: a watch raised {error!r}"
        # Failures are counted for all waits of an operation together.
        together = [each for caller in world.callers for each in caller.watches]
        since = min(
            each.began
            for each in together
            if each.operation.ref == ref and each.began <= watch.began <= each.ended
        )
        is_late = watch.ended - since >= MAX_OUTAGE
        # Of a run that the service gave the name of another, each answer is another's.
        is_excused = watch.is_poll or world.record.is_mixed_up(id_of(ref))
        assert is_excused or is_late, f"{ref}: given up too soon: {error}"
        world.seen["a failed poll" if watch.is_poll else "an outage beyond max_outage"] += 1


def _is_true(world: World, ref: Ref, transition: Transition[Any]) -> None:
    """Expect a transition to be one that the service has shown."""
    if transition.phase is Phase.FINISHED:
        _outcome_is_true(world, id_of(ref), transition.snapshot)
    elif transition.phase is Phase.ACTIVE:
        is_started = any(map(_shows_start, world.record.served[id_of(ref)]))
        assert is_started, f"{ref} is said to be active, and nothing showed that"


def _shows_start(document: dict[str, Any]) -> bool:
    return bool(document.get("startedUtc") or document.get("runnerStarted"))


def _outcome_is_true(world: World, name: Id, outcome: object) -> None:
    """Expect an outcome to be the very document that the service served, and true."""
    assert isinstance(outcome, Run | Generation)
    service, status = world.service, str(outcome.status)
    truth, verdict = service.operation(name), service.verdict(name)
    assert truth is not None
    is_over = truth.finished_at <= service.emulator.now()
    assert is_over, f"{name} is said to be {status}, and goes on"
    assert status == verdict, f"{name} is said to be {status}, and is {verdict}"
    assert not outcome.extra, f"{name}: {outcome.extra} is documented, and was not read"
    said = _known(outcome.to_dict())
    is_served = any(said == _known(document) for document in world.record.served[name])
    assert is_served, f"{name} is said to be {said}, which was never served"


def _known(value: Any) -> Any:
    """Return a document without what is null or empty in it, which is the same as absent."""
    if isinstance(value, dict):
        document = cast("Mapping[str, Any]", value)
        members = {key: _known(member) for key, member in document.items()}
        return {key: member for key, member in members.items() if member not in (None, [], {})}
    if isinstance(value, list):
        return [_known(item) for item in cast("Iterable[Any]", value)]
    return value


def _forward_only(events: Iterable[Any]) -> None:
    """Expect no operation of a client to go back to an earlier phase.

    Where an answer names a finished one again, it is another operation with that id.
    """
    ranks: dict[tuple[Id, Any], int] = {}
    for event in events:
        rank = RANKS[event.transition.phase]
        name = id_of(event.ref), event.ref.dispatched_at
        assert rank >= ranks.get(name, 0), f"{event.ref} went back to {event.transition.phase}"
        ranks[name] = rank
