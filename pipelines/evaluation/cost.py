"""What a system costs: the time of single searches, and memory."""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

WARM_UP_QUERIES = 5
TIMED_QUERIES = 100

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def time_searches(
    search: Callable[[str], object], texts: Sequence[str], *, show_progress: bool = False
) -> NDArray[np.float64]:
    """Time single searches one after another, in milliseconds.

    At most `TIMED_QUERIES` queries, spread evenly, after `WARM_UP_QUERIES` others, so that no cache knows the timed
    ones' candidates; unless there are no others.
    """
    order = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), TIMED_QUERIES + WARM_UP_QUERIES), dtype=int))
    chosen = [texts[at] for at in order]
    warm_up, timed = (chosen[:WARM_UP_QUERIES], chosen[WARM_UP_QUERIES:]) if len(chosen) > 20 else (chosen, chosen)
    for text in warm_up:
        search(text)
    spent = []
    for text in tqdm(timed, desc="timing", unit="query", disable=not show_progress):
        start = time.perf_counter()
        search(text)
        spent.append(1000 * (time.perf_counter() - start))
    return np.array(spent)


def percentiles(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """Give p50, p95 and p99 under the names of the results file."""
    return {
        f"p{share}_ms": round(float(value), 3)
        for share, value in zip((50, 95, 99), np.percentile(milliseconds, (50, 95, 99)), strict=True)
    }


def forget_peak() -> bool:
    """Begin to watch for the process's peak memory anew; False where the system cannot (it is Linux's)."""
    try:
        _CLEAR.write_text("5")
        return True
    except OSError:
        return False


def peak_megabytes() -> float | None:
    """Give the most resident memory since `forget_peak`, in MB (1e6 bytes); None where that is not known.

    It is the whole process's: the interpreter, the Java virtual machine and every model that is loaded count.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return round(int(found.group(1)) * 1024 / 1e6, 1) if found else None
