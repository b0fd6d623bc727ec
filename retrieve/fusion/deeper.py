"""Append the hits of a deeper fusion below those of a shallower one, so that the first hits do not change."""

import numpy as np

from indexing.hits import Hits, LegColumns, align
from retrieve.fusion.shares import Shares

_PLACE = ""
"""Provenance under which a hit's place before ranking is kept."""


def appended(head: Hits, deep: Hits) -> Hits:
    """Return the hits of `head` with their scores, and below them the other hits of `deep` in their order.

    The scores of the appended hits are lowered by one amount per query, so that all are below those of `head`.
    """
    return _without_places(_appended(head, deep))


def appended_shares(head: Shares, deep: Shares) -> Shares:
    """Return each leg's shares of the scores of the hits that `appended` returns."""
    hits = _appended(head.hits, deep.hits)
    places = hits.legs[_PLACE].ranks
    new = _new(head.hits, deep.hits)

    def joined(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([first[name], second[name][new]])[places] for name in first}

    return Shares(
        _without_places(hits),
        joined(dict(head.normalized), dict(deep.normalized)),
        joined(dict(head.shares), dict(deep.shares)),
        joined(dict(head.decided), dict(deep.decided)),
    )


def _new(head: Hits, deep: Hits) -> np.ndarray:
    """Return which hits of `deep` are not in `head`, bool [hits]."""
    ids, (of_head, of_deep) = align([head, deep])
    width = max(len(ids), 1)
    return ~np.isin(deep.rows * width + of_deep, head.rows * width + of_head)


def _appended(head: Hits, deep: Hits) -> Hits:
    ids, (of_head, of_deep) = align([head, deep])
    new = _new(head, deep)
    rows, tail = deep.rows[new], deep.scores[new].astype(np.float64)
    lowest, highest = np.full(len(head), np.inf), np.full(len(head), -np.inf)
    np.minimum.at(lowest, head.rows, head.scores)
    np.maximum.at(highest, rows, tail)
    below = np.nextafter(lowest, -np.inf)
    with np.errstate(invalid="ignore"):
        shift = np.maximum(highest - below, 0)
    shift[~np.isfinite(shift)] = 0
    scores = np.concatenate([head.scores, np.minimum(tail - shift[rows], below[rows])])
    columns = {
        name: LegColumns(
            np.concatenate([column.ranks, deep.legs[name].ranks[new]]),
            np.concatenate([column.scores, deep.legs[name].scores[new]]),
        )
        for name, column in head.legs.items()
    }
    columns[_PLACE] = LegColumns(np.arange(len(scores), dtype=np.int32), scores)
    all_rows, codes = np.concatenate([head.rows, rows]), np.concatenate([of_head, of_deep[new]])
    return Hits.ranked(len(head), all_rows, codes, scores, ids, legs=columns)


def _without_places(hits: Hits) -> Hits:
    legs = {name: column for name, column in hits.legs.items() if name != _PLACE}
    return Hits(hits.offsets, hits.codes, hits.scores, hits.ids, legs, hits.rare)
