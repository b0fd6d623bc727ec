"""Near-duplicate detection by Jaccard overlap of word sets."""

from collections import defaultdict
from collections.abc import Iterable
from math import ceil


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
