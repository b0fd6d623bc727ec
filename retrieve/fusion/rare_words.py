"""Put the hits first that contain rare words which decide their query."""

import numpy as np

from retrieve.fusion.pool import Matrix, Pool, ordered_sum


def decided(pool: Pool) -> Matrix:
    """Return 1.0 where a leg marked a candidate for its rare words (`Hits.rare`), else 0: float64 [legs, candidates].

    A candidate that several legs marked counts for the first of them.
    """
    marks = np.zeros((len(pool.answers), len(pool)))
    for row, hits, candidates in zip(marks, pool.answers, pool.candidates, strict=True):
        if hits.rare is not None:
            row[candidates[hits.rare]] = 1.0
    marks[1:][np.cumsum(marks, axis=0)[:-1] > 0] = 0.0
    return marks


def rare_words_first(contributions: Matrix, pool: Pool) -> Matrix:
    """Raise the contributions of marked candidates until these come before all others of their query.

    With ``s`` the sum of a marked candidate's contributions and ``b`` the highest sum of the others that are not
    marked, both from 0 to 1, its new sum is ``b + (1 - b) * s``: marked candidates keep their order, and sums stay
    between 0 and 1. The leg that marked the candidate gets the difference. Nothing changes where they are first anyway.

    Parameters
    ----------
    contributions
        Without NaN; each candidate's sum is between 0 and 1.
    """
    marks = decided(pool)
    marked = marks.any(axis=0)
    if not marked.any():
        return contributions
    sums = ordered_sum(contributions)
    best, lowest = np.zeros(pool.queries), np.full(pool.queries, np.inf)
    np.maximum.at(best, pool.rows[~marked], sums[~marked])
    np.minimum.at(lowest, pool.rows[marked], sums[marked])
    behind = marked & (lowest <= best)[pool.rows]
    best = best[pool.rows]
    # The best other can be 1 exactly, as the first of a leg that has all of the weight.
    raised = np.maximum(best + (1 - best) * sums, np.nextafter(best, 2))
    return contributions + marks * np.where(behind, raised - sums, 0.0)
