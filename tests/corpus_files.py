"""JSON lines: a corpus of three documents, and a way to write any."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CORPUS = [
    {"_id": "1", "title": "Bread", "text": "Mix flour, water and yeast.", "year": 1999},
    {"_id": "2", "title": "Sorting", "text": "Order the items of a list."},
    {"_id": "3", "title": "", "text": "Network packets may be lost."},
]


def write_lines(path: Path, lines: Iterable[Any]) -> Path:
    """Write each value as JSON, a string as it is; return the path."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, "utf-8")
    return path
