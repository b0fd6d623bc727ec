"""AnswerCache: the most recent answers, so that a repeated query is not searched again."""

import json
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from indexing.errors import InputError
from indexing.locks import CopiedLock
from pipelines.search.results import SearchResults


class AnswerCache:
    """A thread-safe LRU cache of answers.

    Parameters
    ----------
    size
        Maximum number of answers; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise InputError(f"cache must be at least 0, not {size}")
        self.size = size
        self._answers: OrderedDict[Hashable, SearchResults] = OrderedDict()
        self._lock = CopiedLock()

    def get(self, key: Hashable) -> SearchResults | None:
        """Return a copy of the answer stored under this key, marked as cached; None when there is none."""
        if not self.size:
            return None
        with self._lock:
            answer = self._answers.get(key)
            if answer is None:
                return None
            self._answers.move_to_end(key)
        return _copy(answer, cached=True)

    def put(self, key: Hashable, answer: SearchResults) -> None:
        """Store a copy of the answer."""
        if not self.size:
            return
        with self._lock:
            self._answers[key] = _copy(answer, cached=False)
            self._answers.move_to_end(key)
            while len(self._answers) > self.size:
                self._answers.popitem(last=False)

    def __len__(self) -> int:
        return len(self._answers)


def hashable(value: Any) -> Hashable:
    """Return a hashable form of a filter: itself, or its JSON with sorted keys."""
    try:
        hash(value)
    except TypeError:
        return json.dumps(value, sort_keys=True, default=repr)
    key: Hashable = value
    return key


def _copy(answer: SearchResults, *, cached: bool) -> SearchResults:
    return SearchResults(
        answer,
        timings=answer.timings,
        failures=answer.failures,
        notes=answer.notes,
        reranked=answer.reranked,
        cached=cached,
        facets=answer.facets,
    )
