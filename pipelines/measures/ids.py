"""Checks of judgements and runs: whole grades, and ids of one type on both sides."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.plurals import counted

_NAMES = {str: "texts", int: "numbers"}


def require_mapping(value: Any, what: str, example: str) -> Mapping[Any, Any]:
    """Return a mapping unchanged.

    Raises
    ------
    InputError
        For anything else.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{what} must be a dict as in {example}, not {repr(value)[:60]}")
    return value


def type_of_ids(ids: Iterable[Any], what: str) -> type | None:
    """Return the type of ids: str, int, or None for no ids.

    Raises
    ------
    InputError
        If an id has another type, or there are ids of both.
    """
    found: dict[type, type] = {}
    for own in set(map(type, ids)):
        base = str if issubclass(own, str) else int if issubclass(own, int | np.integer) and own is not bool else None
        if base is None:
            raise InputError(f"{what} must be texts, or numbers everywhere, not {own.__name__}")
        found[base] = own
    if len(found) > 1:
        raise InputError(f"{what} must be all texts or all numbers, not both")
    return next(iter(found), None)


def require_same_type(judged: type | None, answered: type | None, what: str) -> None:
    """Raise an `InputError` if the ids of judgements and of an answer have different types, so that none is equal."""
    if judged is not None and answered is not None and judged is not answered:
        raise InputError(
            f"{what} are {_NAMES[judged]} in the judgements and {_NAMES[answered]} in the answer, so none is equal: "
            "make both texts"
        )


def whole_grades(judged: Mapping[Any, Mapping[Any, Any]], count: int) -> NDArray[np.int64]:
    """Return the grades of all judgements, one query after the other, int64 [count].

    Raises
    ------
    InputError
        For a grade that is not a whole number, naming query and document.
    """
    types = set().union(*(set(map(type, documents.values())) for documents in judged.values()))
    if not all(issubclass(own, int | np.integer) for own in types):
        for query_id, documents in judged.items():
            for doc_id, grade in documents.items():
                if not _is_whole(grade):
                    raise InputError(
                        f"the grade of document {doc_id!r} for query {query_id!r} is {repr(grade)[:60]}: grades are "
                        "whole numbers"
                    )
    try:
        return np.fromiter((grade for documents in judged.values() for grade in documents.values()), np.int64, count)
    except OverflowError as error:
        raise InputError("a grade is too large: grades are whole numbers of at most 64 bits") from error


def require_query_count(queries: Sequence[Any], rows: Sized) -> None:
    """Raise an `InputError` unless there is one query id for each row of hits."""
    if isinstance(queries, str) or len(queries) != len(rows):
        number = "one text" if isinstance(queries, str) else f"{len(queries)} query ids"
        raise InputError(f"{number} for the hits of {counted(len(rows), 'query')}")


def _is_whole(grade: Any) -> bool:
    is_number = isinstance(grade, int | float | np.number) and not isinstance(grade, complex)
    return bool(is_number and np.isfinite(grade) and grade == int(grade))
