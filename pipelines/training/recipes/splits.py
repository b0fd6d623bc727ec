"""Queries, what is right for them, and which are kept from training."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from indexing.errors import InputError
from pipelines.mining.from_collection import Positive

MOST_HELD_OUT = 500
MOST_TUNING = 200
LEAST = 2


@dataclass(frozen=True, slots=True)
class Split:
    """Ids of queries: to train on, to tune on, and to compare on, which training and tuning never see."""

    train: Sequence[str]
    tuning: Sequence[str]
    held_out: Sequence[str]


def split_queries(
    usable: Sequence[str], known: Iterable[str], *, held_out: int | None, limit: int | None, seed: int
) -> Split:
    """Draw the queries to compare and to tune on; all others are trained on.

    Parameters
    ----------
    usable
        Queries with a right text; equal ones under one id, so that none stands on both sides.
    known
        Of these, those whose right text is a document of the collection: the only ones that a search can be judged by.
    held_out
        How many to compare on (a tenth, at most `MOST_HELD_OUT`).
    limit
        Train on so many at most.

    Raises
    ------
    InputError
        When too few are left for any of the three.
    """
    judged = sorted(set(known))
    draw = random.Random(seed)
    draw.shuffle(judged)
    wanted = held_out or max(LEAST, min(MOST_HELD_OUT, len(usable) // 10))
    tuning = max(LEAST, min(MOST_TUNING, len(usable) // 20))
    if len(judged) < wanted + tuning or len(usable) <= wanted + tuning:
        raise InputError(
            f"{len(usable)} queries, {len(judged)} of them with a right text that is a document of the collection: "
            f"too few to compare on {wanted}, tune on {tuning} and train on the others; give more pairs, or fewer "
            "--held-out"
        )
    kept = {*judged[: wanted + tuning]}
    train = [query_id for query_id in usable if query_id not in kept]
    if limit is not None and limit < len(train):
        train = draw.sample(train, limit)
    return Split(train, judged[wanted : wanted + tuning], judged[:wanted])


def find_documents(positives: Mapping[str, Sequence[Positive]], documents: Any) -> dict[str, list[Positive]]:
    """Find right texts among the documents of a collection, with title or without, and give them their ids.

    A document that is found stands with its title from then on, as it is indexed: mining then knows it from a negative.

    Parameters
    ----------
    documents
        A `DocumentStore`; read once.
    """
    wanted = {_key(right.text) for some in positives.values() for right in some if right.doc_id is None}
    found: dict[bytes, Positive] = {}
    if wanted:
        for document in documents:
            for text in {document.contents, document.text}:
                key = _key(text)
                if key in wanted:
                    found.setdefault(key, Positive(document.contents, document.doc_id))
    return {
        query_id: [found.get(_key(right.text), right) if right.doc_id is None else right for right in some]
        for query_id, some in positives.items()
    }


def _key(text: str) -> bytes:
    return blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
