"""``retrieve search --queries FILE``: answer a file of queries, on the terminal or as a TREC run file."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.hits import Hits
from indexing.runs import strictly_decreasing, write_trec_run

if TYPE_CHECKING:
    from pipelines.search import SearchPipeline
    from pipelines.search.stages import Stages


def write_run(
    pipeline: "SearchPipeline", queries: Mapping[str, str], path: str, *, k: int, chunks: bool, **options: Any
) -> dict[str, Any]:
    """Search for all queries and write a TREC run; return the counts of the summary.

    A run holds no order but that of its scores, so a score that is not below the one before it is lowered to the next
    float32. In a collection of chunks the hits are their documents, unless `chunks`.

    Parameters
    ----------
    options
        Options of `SearchPipeline.search`.
    """
    start = time.perf_counter()
    rankings = pipeline.in_one_state(lambda stages, _: _rankings(pipeline, stages, queries, k, chunks, options))
    offsets = np.cumsum([0, *map(len, rankings)]).tolist()
    ids = [doc_id for ranking in rankings for doc_id, _ in ranking]
    scores = [score for ranking in rankings for _, score in ranking]
    lowered = strictly_decreasing(np.array(scores, np.float64), np.array(offsets, np.int64)).tolist()
    run = {
        query_id: dict(zip(ids[begin:end], lowered[begin:end], strict=True))
        for query_id, begin, end in zip(queries, offsets, offsets[1:], strict=False)
    }
    write_trec_run(path, Hits.from_run(run, list(queries)), list(queries))
    return {
        "run": path,
        "queries": len(queries),
        "hits": len(ids),
        "without_hits": sum(not ranking for ranking in rankings),
        "seconds": round(time.perf_counter() - start, 3),
    }


def _rankings(
    pipeline: "SearchPipeline",
    stages: "Stages",
    queries: Mapping[str, str],
    k: int,
    chunks: bool,
    options: Mapping[str, Any],
) -> list[list[tuple[str, float]]]:
    """Return the ids and scores that each query finds, in the order of the queries."""
    from pipelines.search.parents import holds_chunks, search_parents

    if not chunks and holds_chunks(stages.snapshot):
        found = [search_parents(pipeline, text, k, **options) for text in queries.values()]
        return [[(parent.document.doc_id, parent.score) for parent in parents] for parents in found]
    return [[(hit.doc_id, hit.score) for hit in hits] for _, hits in pipeline.iter_search(queries, k, **options)]
