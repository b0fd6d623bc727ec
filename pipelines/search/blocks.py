"""Search many queries in blocks, with a progress bar; check pairs of ids and queries."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from indexing import inputs
from indexing.errors import InputError
from indexing.hits import Hits
from indexing.progress import progress

T = TypeVar("T")


def blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split a stream into lists of `size` items; the last may be shorter."""
    source = iter(items)
    while block := list(islice(source, size)):
        yield block


def search_blocks(
    search: Callable[[list[str]], Hits], queries: Sequence[str], size: int, description: str, show_progress: bool
) -> Hits:
    """Return the hits of all queries, searched `size` at a time."""
    parts = []
    with progress(total=len(queries), desc=description, unit="query", disable=not show_progress) as bar:
        for block in blocks(queries, size):
            parts.append(search(block))
            bar.update(len(block))
    return Hits.concatenate(parts)


def checked_pair(pair: Any) -> tuple[str, str]:
    """Return an id and its query; an InputError names what is no such pair."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(f"queries must be (query_id, text) pairs, not {inputs.shown(pair)}")
    return pair[0], inputs.query(pair[1], f"query {pair[0]!r}")
