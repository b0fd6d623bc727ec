"""Rows of random words, and a short run over them, for tests of training."""

import random

from checkpoints import WORDS

SMALL = ["--max-steps", "4", "--batch-size", "4", "--checkpoints", "2", "--no-bf16"]


def text(draw: random.Random, most: int = 8) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(2, most)))
