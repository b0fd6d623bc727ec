"""Cache of an evaluation on disk, so that an interrupted run resumes."""

import hashlib
import json
import logging
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from indexing.disk import write_atomically, write_json
from indexing.hits import Hits, string_array
from indexing.json_text import parse_json

logger = logging.getLogger(__name__)


def key_of(determines: Mapping[str, Any]) -> str:
    """Return a digest of everything that determines a result, given as plain JSON values."""
    text = json.dumps(determines, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def keep(path: Path, key: str, record: Mapping[str, Any], hits: Hits | None = None) -> None:
    """Store a record under its key, and hits beside it; the record is written last, so it never lacks its hits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if hits is not None:
        _save_hits(_hits_file(path), hits)
    write_json(path, {"key": key, "record": dict(record)})


def kept(path: Path, key: str) -> dict[str, Any] | None:
    """Return the record at `path` if it was stored under this key, else None."""
    try:
        stored = parse_json(path.read_text("utf-8"))
        return dict(stored["record"]) if stored["key"] == key else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be used (%r): recomputing that part", path, error)
        return None


def kept_hits(path: Path) -> Hits | None:
    """Return the hits beside the record at `path`; None if they cannot be read."""
    file = _hits_file(path)
    try:
        with np.load(file, allow_pickle=False) as stored:
            utf8, bounds = stored["utf8"].tobytes(), stored["bounds"].tolist()
            ids = string_array([utf8[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(bounds)])
            return Hits(stored["offsets"], stored["codes"], stored["scores"], ids)
    except Exception as error:  # a damaged archive raises errors of zipfile, zlib and numpy
        logger.warning("%s cannot be used (%r): recomputing that part", file, error)
        return None


def _hits_file(path: Path) -> Path:
    return path.with_suffix(".npz")


def _save_hits(path: Path, hits: Hits) -> None:
    used, codes = np.unique(hits.codes, return_inverse=True)
    encoded = [doc_id.encode("utf-8", "surrogatepass") for doc_id in hits.ids[used].tolist()]
    columns: dict[str, Any] = {
        "offsets": hits.offsets,
        "codes": codes.astype(np.int64),
        "scores": hits.scores,
        "utf8": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "bounds": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
    }
    write_atomically(path, lambda file: np.savez(file, **columns))
