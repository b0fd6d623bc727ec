"""Costs of a system: the latency of single searches and peak memory."""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexing.progress import progress

WARM_UP_QUERIES = 5
TIMED_QUERIES = 100

COSTS = (
    ("p50_ms", "p50 ms", 1.0, 1),
    ("p95_ms", "p95 ms", 1.0, 1),
    ("p99_ms", "p99 ms", 1.0, 1),
    ("query_s", "queries s", 1.0, 1),
    ("encode_s", "encode s", 1.0, 1),
    ("build_s", "build s", 1.0, 1),
    ("index_bytes", "index MB", 1e-6, 1),
    ("peak_mb", "peak MB", 1.0, 0),
)
"""Cost columns: key, heading, factor, decimals."""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def time_searches(
    search: Callable[[str], object], texts: Sequence[str], *, show_progress: bool = False
) -> NDArray[np.float64]:
    """Time single searches one after another, in milliseconds.

    At most `TIMED_QUERIES` evenly spread queries are timed, after `WARM_UP_QUERIES` others, so that no cache has seen
    the timed queries. With 20 queries or fewer the same ones serve as warm-up.
    """
    order = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), TIMED_QUERIES + WARM_UP_QUERIES), dtype=int))
    chosen = [texts[at] for at in order]
    warm_up, timed = (chosen[:WARM_UP_QUERIES], chosen[WARM_UP_QUERIES:]) if len(chosen) > 20 else (chosen, chosen)
    for text in warm_up:
        search(text)
    spent = []
    for text in progress(timed, desc="timing", unit="query", disable=not show_progress):
        start = time.perf_counter()
        search(text)
        spent.append(1000 * (time.perf_counter() - start))
    return np.array(spent)


def percentiles(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """Return p50, p95 and p99 under the keys of ``results.json``."""
    return {
        f"p{share}_ms": round(float(value), 3)
        for share, value in zip((50, 95, 99), np.percentile(milliseconds, (50, 95, 99)), strict=True)
    }


def forget_peak() -> bool:
    """Reset the peak memory of the process; return False where the system cannot (only Linux can)."""
    try:
        _CLEAR.write_text("5")
        return True
    except OSError:
        return False


def peak_megabytes() -> float | None:
    """Return the peak resident memory since `forget_peak`, in MB (1e6 bytes); None where it is unknown.

    It covers the whole process: the interpreter, the Java virtual machine and every loaded model.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return round(int(found.group(1)) * 1024 / 1e6, 1) if found else None
