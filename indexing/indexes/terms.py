"""Matched terms of an index that stores term weights and cannot explain its scores."""

from collections.abc import Sequence

from scipy.sparse import csr_matrix

from indexing.hits import Hits
from indexing.indexes.base import Index, Terms


def terms_by_score(index: Index, queries: csr_matrix, hits: Hits, vocabulary: Sequence[str]) -> list[Terms]:
    """Return what each term adds to each hit's score, by scoring the hits with one term at a time."""
    columns, bounds = queries.indices.tolist(), queries.indptr.tolist()
    single = csr_matrix(
        (queries.data, queries.indices, range(len(columns) + 1)), shape=(len(columns), queries.shape[1])
    )
    wanted = [ids for row, ids in enumerate(r.doc_ids for r in hits) for _ in range(bounds[row], bounds[row + 1])]
    scores = iter(index.score(single, wanted).tolist())
    terms: list[Terms] = []
    for row, ranking in enumerate(hits):
        summands: list[list[tuple[str, float]]] = [[] for _ in range(len(ranking))]
        for column in columns[bounds[row] : bounds[row + 1]]:
            for of_hit in summands:
                if (score := next(scores)) > 0:
                    of_hit.append((vocabulary[column], score))
        terms += [tuple(sorted(of_hit, key=lambda term: (-term[1], term[0]))) for of_hit in summands]
    return terms
