"""Rows of random words, and a short run over them, for tests of training."""

import json
import random
from pathlib import Path
from typing import Any

from checkpoints import WORDS

SMALL = ["--max-steps", "4", "--batch-size", "4", "--checkpoints", "2", "--no-bf16"]


def text(draw: random.Random, most: int = 8) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(2, most)))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
