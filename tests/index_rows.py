"""Rows for any kind of index, and a process of its own that writes them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from indexing.indexes.registry import Rows, kind_of, rows_of
from indexing.token_vectors import TokenVectors

ROOT = Path(__file__).parents[1]
TERMS = 16


def numbers_of(contents: Sequence[int]) -> np.ndarray:
    """Different rows of 16 numbers from 0.01 to 3, some of them 0."""
    rows = [np.random.default_rng(one).uniform(0.01, 3, TERMS) for one in contents]
    kept = [np.random.default_rng(one + 1_000_000).random(TERMS) < 0.6 for one in contents]
    return (np.array(rows) * np.array(kept)).astype(np.float32).reshape(-1, TERMS)


def rows_from(rows: Rows, numbers: np.ndarray) -> Any:
    """Rows of any kind from numbers [n, 16]."""
    if rows == "vectors":
        return numbers
    if rows == "weights":
        return csr_matrix(numbers)
    if rows == "tokens":
        # One to three vectors of the same numbers in another order.
        texts = [np.stack([np.roll(row, at) for at in range(1 + int(np.nan_to_num(row).sum()) % 3)]) for row in numbers]
        return TokenVectors.of(texts, numbers.shape[1])
    counts = np.ceil(numbers).astype(int)
    return [" ".join(f"t{term} " * count for term, count in enumerate(row)) for row in counts]


def write_elsewhere(path: Path, backend: str, parameters: Mapping[str, Any], **change: Any) -> None:
    """Change an index in another process and commit: `upsert` (content by id), `delete`, `optimize`, `sequence`."""
    given = json.dumps([str(path), backend, parameters, change])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    code = "import sys, index_rows; index_rows.write(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, given], check=True, env=environment)


def write(given: str) -> None:
    """Apply a change to an index, in the process that `write_elsewhere` starts."""
    path, backend, parameters, change = json.loads(given)
    with kind_of(backend).open(Path(path), read_only=False) as index:
        contents = change.get("upsert", {})
        if contents:
            rows = rows_from(rows_of(backend, parameters), numbers_of(list(contents.values())))
            index.upsert(list(contents), rows, [{} for _ in contents])
        index.delete(change.get("delete", []))
        if change.get("optimize"):
            index.optimize()
        index.commit(change["sequence"])
