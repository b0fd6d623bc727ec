"""Runs of external systems as hits."""

from collections.abc import Mapping, Sequence

import numpy as np

from indexing.hits import Hits, encode_strings
from indexing.runs import strictly_decreasing


def hits_of_run(run: Mapping[str, Mapping[str, float]], queries: Sequence[str]) -> Hits:
    """Convert a run to `Hits` in trec_eval's order: float32 scores descending, then doc_id descending.

    `Hits` order ties by ascending doc_id, so equal scores are lowered by the least amount that preserves trec_eval's
    order. A query that the run lacks has no hits.
    """
    names: list[str] = []
    scores: list[np.float32] = []
    counts = []
    for query_id in queries:
        found = [(np.float32(score), doc_id) for doc_id, score in run.get(query_id, {}).items()]
        found.sort(reverse=True)
        counts.append(len(found))
        names.extend(doc_id for _, doc_id in found)
        scores.extend(score for score, _ in found)
    ids, codes = encode_strings(names)
    offsets = np.cumsum([0, *counts], dtype=np.int64)
    return Hits(offsets, codes, strictly_decreasing(np.array(scores, np.float32), offsets), ids)
