"""Near-duplicate detection by Jaccard overlap of word sets."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from math import ceil

import numpy as np

_WORD = re.compile(r"\w+")
_ROWS_AT_ONCE = 64


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text, without case."""
    return frozenset(_WORD.findall(text.casefold()))


class Groups:
    """Groups of numbered items, joined pair by pair (union-find)."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def join(self, one: int, other: int) -> None:
        """Put two items, and so their groups, into one group."""
        self._parents[self.of(one)] = self.of(other)

    def join_equal(self, keys: Iterable[tuple[int, Hashable]]) -> None:
        """Join the items that have a key in common."""
        first: dict[Hashable, int] = {}
        for item, key in keys:
            self.join(item, first.setdefault(key, item))

    def of(self, item: int) -> int:
        """Return the item that stands for a group."""
        while self._parents[item] != item:
            self._parents[item] = self._parents[self._parents[item]]
            item = self._parents[item]
        return item


def near_duplicate_pairs(sets: Sequence[frozenset[str]], threshold: float) -> Iterator[tuple[int, int]]:
    """Yield the pairs of word sets whose Jaccard overlap reaches the threshold, by prefix filtering."""
    counts = Counter(word for words in sets for word in words)
    by_word: defaultdict[str, list[int]] = defaultdict(list)
    for number, mine in enumerate(sets):
        ordered = sorted(mine, key=lambda word: (counts[word], word))
        prefix = ordered[: len(mine) - ceil(threshold * len(mine)) + 1] if mine else []
        for other in {place for word in prefix for place in by_word[word]}:
            shared = len(mine & sets[other])
            if shared >= threshold * (len(mine) + len(sets[other]) - shared):
                yield other, number
        for word in prefix:
            by_word[word].append(number)


def nearest_overlaps(some: Sequence[frozenset[str]], others: Sequence[frozenset[str]]) -> "np.ndarray":
    """Return each set's largest Jaccard overlap with any of the others, float64 [some]; 0 without others."""
    from scipy.sparse import csr_matrix

    numbers: dict[str, int] = {}
    for words in (*some, *others):
        for word in words:
            numbers.setdefault(word, len(numbers))

    def matrix(sets: Sequence[frozenset[str]]) -> csr_matrix:
        columns = [numbers[word] for words in sets for word in words]
        bounds = np.cumsum([0, *map(len, sets)])
        return csr_matrix((np.ones(len(columns)), columns, bounds), shape=(len(sets), max(1, len(numbers))))

    found = np.zeros(len(some))
    if not others:
        return found
    right = matrix(others)
    sizes, turned = np.asarray(right.sum(axis=1)).ravel(), right.T.tocsr()
    for low in range(0, len(some), _ROWS_AT_ONCE):
        left = matrix(some[low : low + _ROWS_AT_ONCE])
        shared = (left @ turned).toarray()
        union = np.asarray(left.sum(axis=1)) + sizes[None, :] - shared
        found[low : low + _ROWS_AT_ONCE] = (shared / np.maximum(union, 1)).max(axis=1)
    return found


class NearDuplicates:
    """Collection of word sets without near-duplicates: every pair has a Jaccard overlap below `threshold`.

    Two sets that reach the threshold share a word among the first ``n - ceil(threshold * n) + 1`` of each in any one
    fixed order (prefix filtering: Bayardo, Ma and Srikant 2007); with rare words first, few pairs need comparing.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._sets: list[frozenset[str]] = []
        self._by_word: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, words: Iterable[str]) -> bool:
        """Add a set unless it duplicates a stored one; return whether it was added."""
        mine = frozenset(words)
        # Long words tend to be rare.
        ordered = sorted(mine, key=lambda word: (-len(word), word))
        prefix = ordered[: len(mine) - ceil(self._threshold * len(mine)) + 1]
        for candidate in {place for word in prefix for place in self._by_word[word]}:
            other = self._sets[candidate]
            shared = len(mine & other)
            if shared >= self._threshold * (len(mine) + len(other) - shared):
                return False
        for word in prefix:
            self._by_word[word].append(len(self._sets))
        self._sets.append(mine)
        return True
