"""The documents, filters and queries of `two_processes.py`, all drawn by one generator."""

import random
from typing import Any

from crash.cheap import WORDS
from crash.oracle import Oracle

from indexing.documents import Document

COLORS = ["red", "green", "blue"]
MOST_DOCUMENTS = 24
VOCABULARY = WORDS[:60]


class Draws:
    """Random documents, ids, filters and queries for a collection in the state that an oracle predicts."""

    def __init__(self, rng: random.Random, oracle: Oracle) -> None:
        self.rng, self.oracle = rng, oracle

    def document(self, doc_id: str) -> Document:
        words = " ".join(self.rng.choices(VOCABULARY, k=self.rng.randint(3, 8)))
        title = self.rng.choice(["", self.rng.choice(VOCABULARY)])
        return Document(doc_id, words, title, self.metadata())

    def metadata(self) -> dict[str, Any]:
        number = self.oracle.generations[-1].number if self.oracle.generations else 0
        return {"color": self.rng.choice(COLORS), "year": self.rng.randint(2000, 2005), "generation": number}

    def some_ids(self, most: int = 5) -> list[str]:
        known = list(self.oracle.last)
        fresh = [f"d{self.rng.randrange(MOST_DOCUMENTS)}" for _ in range(2)]
        return sorted(set(self.rng.sample(known, min(len(known), self.rng.randint(1, most))) + fresh) - {"d0"})

    def filter(self) -> dict[str, Any]:
        low = self.rng.randint(2000, 2004)
        return self.rng.choice(
            [
                {"color": self.rng.choice(COLORS)},
                {"color": self.rng.sample(COLORS, 2)},
                {"year": {"gte": low, "lt": low + 2}},
                {"color": "red", "year": low},
                {"not": {"color": "blue"}},
                {"or": [{"color": "green"}, {"year": low}]},
            ]
        )

    def query(self) -> str:
        return " ".join(self.rng.choices(VOCABULARY, k=self.rng.randint(1, 4)))
