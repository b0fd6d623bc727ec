"""Memory stays bounded however many texts there are: measured, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

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
