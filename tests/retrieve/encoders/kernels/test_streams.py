"""Parallel batches give the same results in the same order and leave the settings of other threads alone."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma3TextConfig, Gemma3TextModel, LlamaConfig, LlamaModel

from checkpoints import write_bert
from retrieve.encoders import DenseEncoder
from retrieve.encoders.kernels.streams import (
    MAX_STREAMS,
    SMALL_PRODUCTS,
    count_streams,
    map_ahead,
    parallel_map,
    threads_for,
)
from retrieve.encoders.modules.backbone import reentrant
from retrieve.encoders.modules.custom import Custom


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@given(st.integers(1, 512))
def test_streams_leave_a_tenth_of_the_threads_at_most(threads: int) -> None:
    streams = count_streams(threads)
    assert 1 <= streams <= MAX_STREAMS
    assert streams * (threads // streams) >= 0.9 * threads


@pytest.mark.usefixtures("two_threads")
def test_two_run_at_a_time_each_on_one_thread() -> None:
    together, threads = threading.Barrier(2), []

    def work(item: int) -> int:
        together.wait(timeout=20)
        threads.append(torch.get_num_threads())
        return item * item

    assert list(parallel_map(work, range(6))) == [item * item for item in range(6)]
    assert threads == [1] * 6
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_any_number_of_items(count: int) -> None:
    assert list(parallel_map(str, range(count))) == [str(item) for item in range(count)]


@pytest.mark.usefixtures("two_threads")
def test_an_error_is_raised_and_nothing_is_started_after_it() -> None:
    started = []

    def work(item: int) -> int:
        started.append(item)
        if item == 1:
            raise MemoryError("too large")
        return item

    with pytest.raises(MemoryError, match="too large"):
        list(parallel_map(work, range(100)))
    assert len(started) <= 4 and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_few_items_are_started_ahead_of_the_results() -> None:
    started = []
    results = parallel_map(lambda item: started.append(item) or item, range(100))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()
    assert len(started) <= 6


def test_one_thread_runs_all_in_the_caller() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert set(parallel_map(lambda _: threading.current_thread(), range(5))) == {threading.current_thread()}
    finally:
        torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_autocast_applies_to_all_batches(tmp_path) -> None:
    encoder = DenseEncoder(write_bert(tmp_path), dtype="float32", device="cpu")
    texts = [f"the energy of wave {at}" for at in range(40)]
    with torch.autocast("cpu", torch.bfloat16):
        small, large = encoder.encode(texts, token_budget=64), encoder.encode(texts)
    np.testing.assert_allclose(small, large, atol=0.02)
    assert np.abs(small - encoder.encode(texts)).max() > 1e-5


@pytest.mark.usefixtures("two_threads")
def test_vectors_do_not_depend_on_streams(tmp_path) -> None:
    encoder = DenseEncoder(write_bert(tmp_path), dtype="float32", device="cpu")
    texts = [f"the energy of wave {'light ' * (at % 17)} {at}" for at in range(300)]
    parallel = encoder.encode(texts, token_budget=128)
    torch.set_num_threads(1)
    np.testing.assert_allclose(encoder.encode(texts, token_budget=128), parallel, atol=1e-6)


def test_custom_and_compiled_modules_run_in_one_thread(tmp_path) -> None:
    encoder = DenseEncoder(write_bert(tmp_path), dtype="float32", device="cpu")
    assert encoder.engine.streams
    encoder.engine.modules.append(Custom("their.Module", torch.nn.Identity()))
    assert not encoder.engine.streams
    assert not DenseEncoder(tmp_path, dtype="float32", device="cpu", compile=True).engine.streams


SIZES = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
DEFAULT = {"rope_type": "default", "rope_theta": 1e4}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0, "short_factor": [1.0] * 2, "long_factor": [2.0] * 2}


def test_models_that_change_their_positions_in_place_run_in_one_thread(tmp_path) -> None:
    def gemma(kind: dict) -> Gemma3TextModel:
        rope = {"full_attention": kind, "sliding_attention": DEFAULT}
        return Gemma3TextModel(Gemma3TextConfig(**SIZES, head_dim=4, rope_parameters=rope))

    assert reentrant(DenseEncoder(write_bert(tmp_path), device="cpu").engine.input.model)
    assert reentrant(LlamaModel(LlamaConfig(**SIZES, rope_parameters=DEFAULT))) and reentrant(gemma(DEFAULT))
    assert not reentrant(LlamaModel(LlamaConfig(**SIZES, rope_parameters=DYNAMIC)))
    assert not reentrant(LlamaModel(LlamaConfig(**SIZES, rope_parameters=LONG)))
    assert not reentrant(gemma(DYNAMIC))


@pytest.mark.usefixtures("two_threads")
def test_a_small_batch_runs_on_one_thread_and_a_large_one_on_all() -> None:
    with threads_for(SMALL_PRODUCTS):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads_for(SMALL_PRODUCTS + 1):
        assert torch.get_num_threads() == 2
    with pytest.raises(MemoryError), threads_for(1):
        raise MemoryError
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_thread_that_starts_during_a_small_batch_elsewhere_has_all_threads_for_a_large_one() -> None:
    found: list[int] = []

    def work() -> None:
        torch.get_num_threads()
        with threads_for(SMALL_PRODUCTS + 1):
            found.append(torch.get_num_threads())

    with threads_for(1):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [2]


@pytest.mark.usefixtures("two_threads")
def test_a_short_query_is_encoded_on_one_thread(tmp_path) -> None:
    encoder, threads = DenseEncoder(write_bert(tmp_path), dtype="float32", device="cpu"), []
    with encoder.engine.network[0].register_forward_hook(lambda *_: threads.append(torch.get_num_threads())):
        encoder.encode_query(["fire"])
    assert threads == [1] and torch.get_num_threads() == 2


def test_items_are_mapped_one_ahead_and_read_by_the_caller() -> None:
    readers, mappers, steps = set(), set(), []

    def items() -> Iterator[int]:
        for item in range(5):
            readers.add(threading.get_ident())
            steps.append(f"read {item}")
            yield item

    def double(item: int) -> int:
        mappers.add(threading.get_ident())
        return 2 * item

    found = map_ahead(double, items())
    assert next(found) == 0
    assert steps == ["read 0", "read 1"]
    assert list(found) == [2, 4, 6, 8]
    assert readers == {threading.get_ident()} and len(mappers) == 2
    assert list(map_ahead(double, [])) == []


def test_an_error_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("the third")

    found = map_ahead(str, items())
    assert [next(found), next(found)] == ["1", "2"]
    with pytest.raises(LookupError, match="the third"):
        next(found)
    failing = map_ahead(lambda item: 1 / item, [1, 0, 2])
    assert next(failing) == 1
    with pytest.raises(ZeroDivisionError):
        next(failing)
