"""Judgement of a run in trec_eval's order: scores as float32, highest first, ties by doc_id descending.

Measures need the ranks of judged documents only, and a rank follows from the number of higher scores. So runs are not
sorted by id: only the ids of judged documents and of those that tie with them are read.
"""

from collections.abc import Mapping
from itertools import islice
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.measures.ids import require_mapping, type_of_ids
from pipelines.measures.qrels import Judged, Qrels


def judge_run(run: Mapping[str, Mapping[str, float]], qrels: Qrels) -> Judged:
    """Return rank and grade of each judged document in a run ``{query_id: {doc_id: score}}``.

    Unjudged queries are ignored; a query that the run lacks has no hits.

    Raises
    ------
    InputError
        For a score that is no number, naming query and document; or ids of another type than the judgements'.
    """
    example = '{"q1": {"d1": 3.5}}'
    require_mapping(run, "the run", example)
    query_type = type_of_ids(run, "the query ids of the run")
    names = qrels.doc_ids[qrels.codes].tolist()
    bounds = qrels.offsets.tolist()
    rows, ranks, judgements = [], [], []
    counts = np.zeros(len(qrels), dtype=np.int64)
    for row, query_id in enumerate(qrels.query_ids):
        if query_id not in run:
            continue
        found = require_mapping(run[query_id], f"the run's answer to query {query_id!r}", example)
        if not found:
            continue
        counts[row] = len(found)
        scores = _scores(found, query_id)
        judged = [at for at in range(bounds[row], bounds[row + 1]) if names[at] in found]
        # All ids are looked at only where none is judged: ids of another type are never equal.
        looked_at = islice(found, 1) if judged else found
        qrels.require_ids(query_type, type_of_ids(looked_at, f"the document ids of query {query_id!r}"))
        places = _ranks(found, scores, [names[at] for at in judged])
        order = np.argsort(places)
        ranks.append(places[order])
        judgements.append(np.array(judged, dtype=np.int64)[order])
        rows.append(np.full(len(judged), row))
    if not rows:
        qrels.require_ids(query_type, None)
        none = np.zeros(0, dtype=np.int64)
        return Judged(qrels, none, none, none, counts)
    return Judged(qrels, np.concatenate(rows), np.concatenate(ranks), qrels.grades[np.concatenate(judgements)], counts)


def _scores(found: Mapping[str, float], query_id: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        try:
            scores = np.fromiter(found.values(), np.float64, len(found)).astype(np.float32)
        except (TypeError, ValueError):
            doc_id, score = next((name, value) for name, value in found.items() if not isinstance(value, Real))
            shown = f"{repr(score)[:60]}, which is no number"
            raise InputError(f"the score of document {doc_id!r} for query {query_id!r} is {shown}") from None
    if np.isnan(scores).any():
        doc_id = list(found)[int(np.flatnonzero(np.isnan(scores))[0])]
        raise InputError(f"the score of document {doc_id!r} for query {query_id!r} is NaN")
    return scores


def _ranks(found: Mapping[str, float], scores: NDArray[np.float32], names: list[str]) -> NDArray[np.int64]:
    """Return the rank, from 1, of each of these documents of `found`."""
    with np.errstate(over="ignore"):
        own = np.array([found[name] for name in names], dtype=np.float64).astype(np.float32)
    ascending = np.sort(scores)
    above = np.searchsorted(ascending, own, side="right")
    ranks = len(scores) - above + 1
    tied = above - np.searchsorted(ascending, own, side="left") > 1
    if tied.any():
        all_names = list(found)
        for score in np.unique(own[tied]):
            group = sorted((all_names[at] for at in np.flatnonzero(scores == score)), reverse=True)
            place = {name: at for at, name in enumerate(group)}
            for at in np.flatnonzero(own == score):
                ranks[at] += place[names[at]]
    return ranks
