"""Memory stays bounded for any number of texts, measured in a separate process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from retrieve.encoders.kernels.memory import page_out

SCRIPT = """
import sys, threading, numpy as np
from retrieve.encoders import DenseEncoder

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024

model, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
encoder = DenseEncoder(model, dtype="float32", device="cpu")
encoder.encode(["wave 1", "light 2"])
start, done, most = anonymous(), threading.Event(), [0.0]

def watch():
    while not done.wait(0.01):
        most[0] = max(most[0], anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
out = np.lib.format.open_memmap(path, "w+", np.float32, (count, encoder.dimension))
encoder.encode((f"the energy of wave {at}" for at in range(count)), out=out)
done.set()
watcher.join()
assert np.linalg.norm(out[-1]) > 0.9
print(most[0] - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="anonymous memory is read from /proc")
def test_200_000_texts_into_a_memmap(dense, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(dense), str(tmp_path / "vectors.npy"), "200000"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 300, "MB"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_mapped_weights_are_paged_out_and_read_again(tmp_path):
    save_file({"mine": torch.arange(2_000_000, dtype=torch.float32)}, tmp_path / "weights.safetensors")
    weights = load_file(tmp_path / "weights.safetensors")["mine"]
    assert weights.sum() > 0
    weights[:1000] = -1.0
    before = _resident("weights.safetensors")

    page_out(weights)

    assert before > 7000
    assert _resident("weights.safetensors") < before / 2 or not _may_page_out(tmp_path)
    assert torch.equal(weights[1000:], torch.arange(1000, 2_000_000, dtype=torch.float32))
    assert torch.equal(weights[:1000], torch.full((1000,), -1.0))


def test_weights_in_memory_are_kept():
    weights = torch.ones(1_000_000)

    page_out(weights)
    page_out(torch.ones(0))

    assert weights.sum() == 1_000_000


def _resident(name: str) -> int:
    """Return the kilobytes of a mapped file that are in memory."""
    size, matches = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            matches = line.endswith(name)
        elif matches and line.startswith("Rss:"):
            size += int(line.split()[1])
    return size


def _may_page_out(folder: Path) -> bool:
    """Return whether files of this folder can be paged out: those of a file system in memory cannot."""
    kinds = {line.split()[1]: line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    home = next(str(parent) for parent in [folder, *folder.parents] if str(parent) in kinds)
    return kinds[home] not in ("tmpfs", "ramfs")
