"""Searches: explanations, timings, batches, event loops, the cache."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from indexing.collection.snapshot import Snapshot
from indexing.errors import InputError, StorageError
from pipelines.search import pipeline as pipeline_module
from retrieve.reranking.budget import Budget
from retrieve.reranking.late_interaction import LateInteractionReranker
from retrieve.trace import Trace

QUERIES = {f"q{at}": text for at, text in enumerate(["bake bread", "lost packets", "?", "日本", "item 7", "matrix"])}


class TestExplain:
    def test_every_leg_says_its_rank_its_share_and_its_terms(self, pipeline, minilm):
        for result in pipeline.search("bake bread in an oven", k=5, explain=True):
            why = result.explanation
            assert {name: (leg.rank, leg.score) for name, leg in why.legs.items()} == {
                name: (leg.rank, leg.score) for name, leg in result.legs.items()
            }
            assert sum(leg.share for leg in why.legs.values()) == pytest.approx(1)
            assert (why.first_stage.rank, why.first_stage.score) == (result.rank, result.score)
            assert why.reranker is None
            for name in ("bm25", "sparse"):
                if name in why.legs:
                    leg = why.legs[name]
                    assert sum(weight for _, weight in leg.terms) == pytest.approx(leg.score, rel=1e-4)
            assert why.legs["dense"].terms is None
        assert result.as_dict()["explanation"]["legs"]["dense"]["share"] == why.legs["dense"].share

    def test_the_first_hit_has_the_words_it_was_found_by(self, pipeline):
        best = pipeline.search("oven flour", k=1, explain=True)[0]
        assert best.doc_id == "cake"
        assert {term for term, _ in best.explanation.legs["bm25"].terms} == {"oven", "flour"}

    def test_before_and_after_the_reranker(self, opened):
        with opened(reranker="late-interaction", candidates=4) as pipeline:
            results = pipeline.search("bake a loaf", k=8, explain=True)
        assert results.reranked == 4
        befores = [result.explanation.first_stage.rank for result in results]
        assert sorted(befores) == list(range(1, 9)) and befores[4:] == [5, 6, 7, 8]
        assert [result.explanation.reranker is not None for result in results] == [True] * 4 + [False] * 4

    def test_a_single_leg_has_it_all(self, opened):
        with opened(legs=["bm25"]) as pipeline:
            best = pipeline.search("datagrams", k=1, explain=True)[0]
        assert best.explanation.legs["bm25"].share == 1
        assert [term for term, _ in best.explanation.legs["bm25"].terms] == ["datagram"]

    def test_without_it_nothing_is_explained(self, pipeline):
        assert pipeline.search("bake", k=1)[0].explanation is None

    def test_in_a_batch_as_alone(self, pipeline):
        batch = pipeline.batch_search(QUERIES, k=3, explain=True)
        for query_id, text in QUERIES.items():
            for one, other in zip(batch[query_id], pipeline.search(text, k=3, explain=True), strict=True):
                assert one.doc_id == other.doc_id
                assert one.explanation.legs.keys() == other.explanation.legs.keys()
                for name, leg in one.explanation.legs.items():
                    assert leg.share == pytest.approx(other.explanation.legs[name].share, abs=1e-4)
                    assert leg.terms == other.explanation.legs[name].terms


class TestTimings:
    def test_every_stage_is_named(self, opened):
        with opened(reranker="late-interaction") as pipeline:
            timings = pipeline.search("bake").timings
        assert set(timings) == {
            *("bm25.search", "dense.encode", "dense.search", "sparse.encode", "sparse.search"),
            *("fusion", "reranker", "documents", "total"),
        }
        assert all(milliseconds > 0 for milliseconds in timings.values())
        assert timings["total"] > max(value for name, value in timings.items() if name != "total")

    def test_queries_answered_together_share_alike(self, pipeline):
        answers = list(pipeline.batch_search(QUERIES).values())
        assert all(answer.timings == answers[0].timings for answer in answers)


class TestBatches:
    def test_a_stream_is_read_no_further_than_it_is_answered(self, pipeline, monkeypatch):
        monkeypatch.setattr(pipeline_module, "QUERIES_AT_ONCE", 4)
        read = []

        def questions():
            for number in range(10**9):
                read.append(number)
                yield str(number), f"item {number}"

        answers = pipeline.iter_search(questions(), k=2)
        firsts = [next(answers) for _ in range(5)]
        assert [query_id for query_id, _ in firsts] == ["0", "1", "2", "3", "4"]
        assert len(read) == 8
        assert all(len(results) == 2 for _, results in firsts)

    def test_many_queries_are_answered_as_one_by_one(self, opened, monkeypatch):
        monkeypatch.setattr(pipeline_module, "QUERIES_AT_ONCE", 16)
        queries = {str(at): f"item number {at} {word}" for at in range(15) for word in ["of", "matrix", "bread"]}
        queries |= QUERIES
        with opened(reranker="late-interaction", candidates=10) as pipeline:
            batch = pipeline.batch_search(queries, k=5)
            for query_id, text in queries.items():
                alone = pipeline.search(text, k=5)
                scores = {result.doc_id: result.score for result in alone}
                assert len(batch[query_id]) == len(alone)
                for one, other in zip(batch[query_id], alone, strict=True):
                    assert one.score == pytest.approx(other.score, abs=1e-4)
                    near = scores.get(one.doc_id)
                    assert one.doc_id == other.doc_id or near == pytest.approx(other.score, abs=1e-4)

    def test_a_budget_without_a_reranker_is_an_error(self, pipeline):
        with pytest.raises(InputError, match="a budget limits a reranker"):
            pipeline.search("bake", budget=Budget(max_pairs=3))

    def test_retrieve_takes_a_budget(self, opened):
        with opened(reranker="late-interaction") as pipeline:
            hits = pipeline.retrieve(["bake", "matrix"], k=20, budget=Budget(max_pairs=3))
        read = hits.legs["reranker"].ranks > 0
        assert np.bincount(hits.rows[read]).tolist() == [3, 3]


class TestDegraded:
    def test_an_answer_without_a_leg_says_so(self, opened, monkeypatch):
        with opened(on_leg_error="degrade", cache=10) as pipeline:
            whole = pipeline.search("bake bread", k=3)

            def broken(*_, **__):
                raise StorageError("the graph is damaged")

            monkeypatch.setattr(pipeline.retriever.legs[1].index, "search", broken)
            degraded = pipeline.search("bake some bread", k=3)
            again = pipeline.search("bake some bread", k=3)
        assert not whole.degraded and whole.failures == {}
        assert degraded.degraded and degraded.failures == {"dense": "the graph is damaged"}
        assert len(degraded) == 3 and all("dense" not in result.legs for result in degraded)
        assert not again.cached, "half an answer is not kept"

    def test_a_leg_that_failed_is_not_asked_for_scores(self, opened, monkeypatch):
        fusion = {"method": "weighted-sum", "missing": "score"}

        def broken(*_, **__):
            raise StorageError("the graph is damaged")

        with opened(on_leg_error="degrade", fusion=fusion, depth=2) as pipeline:
            whole = pipeline.search("bake bread", k=4)
            assert {"bm25.score", "dense.score", "sparse.score"} <= set(whole.timings)
            index = pipeline.retriever.legs[1].index
            monkeypatch.setattr(index, "score", broken)
            scored = pipeline.search("bake bread", k=4)
            monkeypatch.setattr(index, "search", broken)
            neither = pipeline.search("bake bread", k=4)
        assert not whole.degraded and scored.failures == neither.failures == {"dense": "the graph is damaged"}
        assert any("dense" in result.legs for result in scored), "what it found is not lost"
        assert neither and all("dense" not in result.legs for result in neither)
        with opened(fusion=fusion, depth=2) as pipeline:
            monkeypatch.setattr(pipeline.retriever.legs[1].index, "score", broken)
            with pytest.raises(StorageError, match="damaged"):
                pipeline.search("bake bread")

    def test_by_default_the_error_is_the_callers(self, opened, monkeypatch):
        with opened() as pipeline:
            monkeypatch.setattr(
                pipeline.retriever.legs[0].index, "search", lambda *_: (_ for _ in ()).throw(StorageError("gone"))
            )
            with pytest.raises(StorageError, match="gone"):
                pipeline.search("bake")


class TestCache:
    def test_the_same_question_is_not_worked_out_twice(self, opened, monkeypatch):
        with opened(cache=2) as pipeline:
            first = pipeline.search("bake", k=3)
            second = pipeline.search("bake", k=3)
            assert (first.cached, second.cached) == (False, True)
            assert second == first and second is not first
            second.clear()
            assert pipeline.search("bake", k=3) == first, "what a caller does to its answer is its own matter"
            assert not pipeline.search("bake", k=4).cached
            assert not pipeline.search("bake", k=3, explain=True).cached
            assert not pipeline.search("bake", k=3).cached, "two others were asked since"
            assert len(pipeline.cache) == 2

    def test_a_write_makes_answers_old(self, opened, monkeypatch):
        with opened(cache=10) as pipeline:
            pipeline.search("bake")
            monkeypatch.setattr(type(pipeline.collection.documents), "sequence", 10**6, raising=False)
            assert not pipeline.search("bake").cached
            monkeypatch.setattr(type(pipeline.collection.documents), "sequence", 10**6 + 1, raising=False)
            assert not pipeline.search("bake").cached
            assert pipeline.search("bake").cached

    def test_filters_are_told_apart_whatever_the_order_of_their_keys(self, pipeline):
        from pipelines.search.cache import hashable

        assert hashable({"a": [1], "b": 2}) == hashable({"b": 2, "a": [1]})
        assert hashable({"a": [1]}) != hashable({"a": [2]})
        assert hashable(None) is None


class TestAsync:
    def test_two_hundred_at_once_and_fifty_cancelled_on_the_way(self, opened):
        """No thread and no file is left over, and the other answers are right."""
        queries = [f"item number {at} of a list" for at in range(200)]
        before, others = threads_and_files(), set(threading.enumerate())
        with opened(reranker="late-interaction", candidates=5, workers=3) as pipeline:
            expected = [[result.doc_id for result in pipeline.search(query, k=3)] for query in queries[:20]]

            async def all_of_them():
                tasks = [asyncio.create_task(pipeline.asearch(query, k=3)) for query in queries]
                await asyncio.wait(tasks[:10], return_when=asyncio.FIRST_COMPLETED)
                for task in tasks[:200:4]:
                    task.cancel()
                return await asyncio.gather(*tasks, return_exceptions=True)

            answers = asyncio.run(all_of_them())
            busy = sum(thread.name.startswith("search") for thread in set(threading.enumerate()) - others)
            assert busy <= 3
        cancelled = [isinstance(answer, asyncio.CancelledError) for answer in answers]
        assert not any(isinstance(answer, Exception) for answer in answers)
        assert 40 <= sum(cancelled) <= 50, "one that had ended cannot be cancelled"
        for answer, right in zip(answers[:20], expected, strict=True):
            if not isinstance(answer, asyncio.CancelledError):
                assert [result.doc_id for result in answer] == right
        assert threads_and_files() == before

    def test_one_that_runs_ends_at_its_next_stage(self, opened, monkeypatch):
        reached, proceed, reranked = threading.Event(), threading.Event(), []
        with opened(reranker="late-interaction") as pipeline:
            search, rerank = type(pipeline.retriever).search, LateInteractionReranker.rerank

            def held(*given, **options):
                hits = search(*given, **options)
                reached.set()
                assert proceed.wait(10)
                return hits

            def told(self, queries, *given, trace, **options):
                try:
                    hits = rerank(self, queries, *given, trace=trace, **options)
                finally:
                    reranked.append(trace.scored)
                return hits

            monkeypatch.setattr(type(pipeline.retriever), "search", held)
            monkeypatch.setattr(LateInteractionReranker, "rerank", told)

            async def leave():
                task = asyncio.create_task(pipeline.asearch("bake"))
                await asyncio.to_thread(reached.wait, 10)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                proceed.set()

            asyncio.run(leave())
        assert reranked == [None], "the reranker did not begin"

    def test_an_error_is_the_callers(self, pipeline):
        with pytest.raises(InputError, match="k must be at least 1"):
            asyncio.run(pipeline.asearch("bake", k=0))
        with pytest.raises(InputError, match="the query must be a string, not None"):
            asyncio.run(pipeline.asearch(None))


def threads_and_files() -> tuple[int, int]:
    files = Path("/proc/self/fd")
    return threading.active_count(), len(list(files.iterdir())) if files.is_dir() else 0


def test_a_filter_reaches_the_documents_store_for_dense_legs(opened, monkeypatch):
    monkeypatch.setattr(Snapshot, "matching", lambda _, filter: [filter["source"], "n1", "n2"])
    with opened(legs=["dense"]) as pipeline:
        results = pipeline.search("bake", k=10, filter={"source": "udp"})
    assert {result.doc_id for result in results} == {"udp", "n1", "n2"}


def test_a_trace_of_ones_own(pipeline):
    trace = Trace()
    pipeline.retriever.search(["bake", "matrix"], 3, trace=trace)
    assert "dense.encode" in trace.seconds and not trace.failures
