"""The queue of a service: what is worked on together, in which order, and what is refused."""

import asyncio
import threading
import time

import pytest

pytest.importorskip("prometheus_client")

from indexing.errors import InputError
from pipelines.service.batcher import Batcher
from pipelines.service.errors import ServiceError
from pipelines.service.metrics import Metrics


class Work:
    """Doubles numbers, one batch at a time, once it is allowed to; keeps what it was given."""

    def __init__(self, **options):
        self.batches, self.go = [], threading.Event()
        limits = {"threads": 1, "waiting": 10, "items": 4, "cost": 100, **options}
        self.batcher = Batcher("work", self.run, metrics=Metrics(), **limits)

    def run(self, key, batch):
        self.go.wait(10)
        self.batches.append((key, list(batch.items)))
        if 13 in batch.items:
            raise InputError("13 cannot be doubled")
        return [2 * item for item in batch.items]

    async def submit_all(self, items, *, seconds=10.0):
        """Submit (key, number, cost, owner) while the first is worked on; return results and errors."""
        deadline = time.monotonic() + seconds
        tasks = []
        for key, number, cost, owner in items:
            submitted = self.batcher.submit(key, number, cost=cost, deadline=deadline, owner=owner)
            tasks.append(asyncio.create_task(submitted))
            await asyncio.sleep(0.01)
        self.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await self.batcher.close()
        return results


def answered(work, items, **options):
    return asyncio.run(work.submit_all(items, **options))


def test_items_that_wait_are_worked_on_together_by_key():
    work = Work()

    results = answered(work, [("a", 1, 1, ""), ("a", 2, 1, ""), ("b", 3, 1, ""), ("a", 4, 1, "")])

    assert results == [2, 4, 6, 8]
    assert work.batches == [("a", [1]), ("a", [2, 4]), ("b", [3])]


def test_ordered_work_keeps_the_order_of_arrival():
    work = Work(ordered=True)

    answered(work, [("a", 1, 1, ""), ("a", 2, 1, ""), ("b", 3, 1, ""), ("a", 4, 1, "")])

    assert work.batches == [("a", [1]), ("a", [2]), ("b", [3]), ("a", [4])]


def test_a_batch_is_bounded_by_items_and_cost():
    work = Work()

    answered(work, [("a", 0, 1, ""), *(("a", number, 40, "") for number in range(1, 4)), ("a", 9, 500, "")])

    assert work.batches == [("a", [0]), ("a", [1, 2]), ("a", [3]), ("a", [9])]


def test_one_wrong_item_does_not_fail_the_others():
    work = Work()

    results = answered(work, [("a", 1, 1, ""), ("a", 2, 1, ""), ("a", 13, 1, ""), ("a", 4, 1, "")])

    assert results[:2] == [2, 4] and results[3] == 8 and isinstance(results[2], InputError)


def test_a_full_queue_refuses_and_one_caller_gets_half_of_it_while_others_wait():
    work = Work(waiting=4)
    items = [("a", 0, 1, "x"), *(("a", number, 1, "x") for number in range(1, 4)), ("a", 4, 1, "y")]

    full = answered(work, [*items, ("a", 5, 1, "z")])
    unfair = answered(Work(waiting=6), [*items, ("a", 5, 1, "x"), ("a", 6, 1, "y")])

    assert full[:5] == [0, 2, 4, 6, 8] and full[5].status == 503 and int(full[5].headers["Retry-After"]) >= 1
    assert unfair[5].status == 429 and unfair[6] == 12


def test_an_item_whose_deadline_passed_is_not_begun():
    work = Work()

    async def late():
        blocking = asyncio.create_task(work.batcher.submit("a", 1, deadline=time.monotonic() + 10))
        await asyncio.sleep(0.01)
        with pytest.raises(ServiceError) as error:
            await work.batcher.submit("a", 2, deadline=time.monotonic() + 0.05)
        work.go.set()
        await blocking
        await work.batcher.close()
        return error.value.status

    assert asyncio.run(late()) == 504 and work.batches == [("a", [1])]


def test_a_cancelled_item_leaves_the_queue():
    work = Work()

    async def cancel():
        blocking = asyncio.create_task(work.batcher.submit("a", 1, deadline=time.monotonic() + 10))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(work.batcher.submit("a", 2, deadline=time.monotonic() + 10))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        left = len(work.batcher)
        work.go.set()
        await blocking
        await work.batcher.close()
        return left

    assert asyncio.run(cancel()) == 0 and work.batches == [("a", [1])]
