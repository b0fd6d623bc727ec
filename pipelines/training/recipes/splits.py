"""Split queries into training, tuning and held-out ones, with like queries on one side."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.mining.relevant_documents import Positive, normalized
from pipelines.near_duplicates import Groups, near_duplicate_pairs, nearest_overlaps, words_of

MAX_HELD_OUT = 500
MAX_TUNING = 200
MIN_QUERIES = 2
SAME_WORDING = 0.8
"""Overlap of words (Jaccard) from which two queries count as near-duplicates."""


@dataclass(frozen=True, slots=True)
class Split:
    """Query ids for training, for tuning, and for the comparison, disjoint.

    Parameters
    ----------
    train, tuning, held_out
        The ids.
    left_out
        Queries of a held-out or tuning group that cannot evaluate a search and must not be trained on.
    is_separated
        No held-out or tuning query is a near-duplicate of a training query or shares a relevant document with one.
    """

    train: Sequence[str]
    tuning: Sequence[str]
    held_out: Sequence[str]
    left_out: Sequence[str] = ()
    is_separated: bool = True


def like_queries(texts: Mapping[str, str], positives: Mapping[str, Sequence[Positive]]) -> dict[str, str]:
    """Return the group of each query: near-duplicates, and queries with a relevant document in common, are one group.

    Parameters
    ----------
    texts
        The queries.
    positives
        Their relevant documents.

    Returns
    -------
    dict
        For each query id an id that stands for its group.
    """
    ids = list(texts)
    groups = Groups(len(ids))
    for one, other in near_duplicate_pairs([words_of(texts[query_id]) for query_id in ids], SAME_WORDING):
        groups.join(one, other)
    groups.join_equal(
        (number, right.doc_id if right.doc_id is not None else (normalized(right.text),))
        for number, query_id in enumerate(ids)
        for right in positives.get(query_id, ())
    )
    return {query_id: ids[groups.of(number)] for number, query_id in enumerate(ids)}


def nearness(split: Split, texts: Mapping[str, str]) -> float:
    """Return the median, over the held-out queries, of the word overlap with the nearest training query."""
    held_out, train = ([words_of(texts[query_id]) for query_id in ids] for ids in (split.held_out, split.train))
    return float(np.median(nearest_overlaps(held_out, train)))


def split_queries(
    usable: Sequence[str],
    known: Iterable[str],
    *,
    held_out: int | None,
    limit: int | None,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> Split:
    """Draw the queries to compare and to tune on; all others are for training.

    Parameters
    ----------
    usable
        Ids of queries with a positive; equal queries share an id, so that no query is in two splits.
    known
        Those of them whose positives are documents of the collection; only these can evaluate a search.
    held_out
        Number of queries to compare on (a tenth, at most `MAX_HELD_OUT`).
    limit
        Maximum number of training queries.
    groups
        Group of each query, from `like_queries`; a group stays on one side. If that leaves less than half of the
        queries to compare or to tune on, queries are drawn one by one, and the split is not `is_separated`.

    Raises
    ------
    InputError
        If there are too few queries for the three splits.
    """
    judged = sorted(set(known))
    generator = random.Random(seed)
    generator.shuffle(judged)
    compared = held_out or max(MIN_QUERIES, min(MAX_HELD_OUT, len(usable) // 10))
    tuning = max(MIN_QUERIES, min(MAX_TUNING, len(usable) // 20))
    if len(judged) < compared + tuning or len(usable) <= compared + tuning:
        raise InputError(
            f"{counted(len(usable), 'query')}, {len(judged)} of them with a positive that is a document of the "
            f"collection, are too few to compare on {compared}, tune on {tuning} and train on the others; add pairs or "
            "lower held_out (--held-out)"
        )
    group_of = groups or {}
    drawn = _whole_groups(judged, group_of, (compared, tuning))
    least = [max(MIN_QUERIES, size // 2) for size in (compared, tuning)]
    is_separated = all(len(ids) >= size for ids, size in zip(drawn, least, strict=True))
    if not is_separated:
        group_of = {}
        drawn = [judged[:compared], judged[compared : compared + tuning]]
    reserved = {query_id for ids in drawn for query_id in ids}
    reserved_groups = {group_of.get(query_id, query_id) for query_id in reserved}
    train = [query_id for query_id in usable if group_of.get(query_id, query_id) not in reserved_groups]
    if not train:
        raise InputError(
            f"all of {counted(len(usable), 'query')} are held out: lower held_out (--held-out), or add queries"
        )
    left_out = sorted(set(usable) - set(train) - reserved)
    if limit is not None and limit < len(train):
        train = generator.sample(train, limit)
    return Split(train, drawn[1], drawn[0], left_out, is_separated)


def _whole_groups(ids: Sequence[str], group_of: Mapping[str, str], sizes: Sequence[int]) -> list[list[str]]:
    """Draw sets of at most these sizes, in the order of the ids; the ids of a group go together or stay."""
    members: dict[str, list[str]] = {}
    for query_id in ids:
        members.setdefault(group_of.get(query_id, query_id), []).append(query_id)
    drawn: list[list[str]] = [[] for _ in sizes]
    taken: set[str] = set()
    for own, size in zip(drawn, sizes, strict=True):
        for group, some in members.items():
            if group not in taken and len(own) + len(some) <= size:
                own += some
                taken.add(group)
    return drawn
