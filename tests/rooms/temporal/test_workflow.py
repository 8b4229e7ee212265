"""The pure part of the workflow: what an input may say, and how a batch is shared out."""

import pytest

pytest.importorskip("temporalio", reason="batches on Temporal need the extra `temporal`")

from hypothesis import given
from hypothesis import strategies as st

from testvibe_async.temporal.workflow import AT_ONCE, CHUNK_SIZE, chunks_of, problem_of, shares_of

BAD: list[tuple[object, str]] = [
    (None, "JSON object"),
    (["Checkout"], "JSON object"),
    ({"feature": ["Checkout"]}, "'feature'"),
    ({"features": []}, "'features'"),
    ({"features": "Checkout"}, "'features'"),
    ({"features": ["Checkout", " "]}, "'features'"),
    ({"features": ["Checkout", None]}, "'features'"),
    ({"features": ["Checkout", "check\u00a0out ", "CHECKOUT"]}, "'features'"),
    ({"features": [3, "3"]}, "'features'"),
    ({"features": [3, "Checkout"]}, "'features'"),
    ({"features": [True]}, "'features'"),
    ({"attempts": 0}, "'attempts'"),
    ({"attempts": 6}, "'attempts'"),
    ({"attempts": True}, "'attempts'"),
    ({"attempts": 2.0}, "'attempts'"),
    ({"maxInFlight": "40"}, "'maxInFlight'"),
    ({"decideSeconds": 10**12}, "'decideSeconds'"),
    ({"kind": "runs"}, "'kind'"),
    ({"kind": ["run"]}, "'kind'"),
    ({"kind": "generation", "attempts": 2}, "'attempts'"),
    ({"kind": "generation", "configs": ["Mobile"]}, "'configs'"),
    ({"maxGenerations": 3}, "'maxGenerations'"),
    ({"project": None}, "'project'"),
]


@pytest.mark.parametrize(("request_", "named"), BAD, ids=str)
def test_an_input_that_is_refused(request_: object, named: str) -> None:
    """One short sentence names the member."""
    problem = problem_of(request_)
    assert problem is not None
    assert named in problem
    assert len(problem) < 250


@given(
    count=st.integers(1, 2_000),
    configs=st.integers(1, 3),
    in_flight=st.integers(1, 300),
)
def test_the_chunks_of_a_batch(count: int, configs: int, in_flight: int) -> None:
    """They have all features, in order, each once; their limits make that of the batch."""
    features = list(range(count))
    names = ["Desktop", "Mobile", "Tablet"][:configs]
    request = {"features": features, "configs": names, "maxInFlight": in_flight}
    chunks = chunks_of(request, features)
    assert [each for chunk in chunks for each in chunk] == features
    assert all(0 < len(chunk) * configs < CHUNK_SIZE + configs for chunk in chunks)
    shares = shares_of(request, len(chunks))
    assert min(shares) >= 1
    assert len(shares) <= min(AT_ONCE, len(chunks))
    assert sum(shares) == in_flight
