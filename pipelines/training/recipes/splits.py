"""Split queries into training, tuning and held-out ones."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from indexing.errors import InputError

MAX_HELD_OUT = 500
MAX_TUNING = 200
MIN_QUERIES = 2


@dataclass(frozen=True, slots=True)
class Split:
    """Query ids for training, for tuning, and for the comparison, disjoint."""

    train: Sequence[str]
    tuning: Sequence[str]
    held_out: Sequence[str]


def split_queries(
    usable: Sequence[str], known: Iterable[str], *, held_out: int | None, limit: int | None, seed: int
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
            f"{len(usable)} queries, {len(judged)} of them with a positive that is a document of the collection, are "
            f"too few to compare on {compared}, tune on {tuning} and train on the others; add pairs or lower --held-out"
        )
    reserved = {*judged[: compared + tuning]}
    train = [query_id for query_id in usable if query_id not in reserved]
    if limit is not None and limit < len(train):
        train = generator.sample(train, limit)
    return Split(train, judged[compared : compared + tuning], judged[:compared])
