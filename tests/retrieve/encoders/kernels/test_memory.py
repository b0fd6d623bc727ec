"""Memory stays bounded however many texts there are: measured, in a process of its own."""

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
def test_weights_that_their_file_has_too_are_let_go_and_read_again(tmp_path):
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


def test_weights_of_no_file_are_left_alone():
    weights = torch.ones(1_000_000)

    page_out(weights)
    page_out(torch.ones(0))

    assert weights.sum() == 1_000_000


def _resident(name: str) -> int:
    """Kilobytes of a mapped file that are in memory."""
    found, at_it = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            at_it = line.endswith(name)
        elif at_it and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def _may_page_out(folder: Path) -> bool:
    """Whether the system writes pages of this folder's files back: one in memory has nowhere to write them."""
    kinds = {line.split()[1]: line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    home = next(str(parent) for parent in [folder, *folder.parents] if str(parent) in kinds)
    return kinds[home] not in ("tmpfs", "ramfs")
