"""Make the environment of the peers: sentence-transformers with ONNX Runtime and OpenVINO, apart from this project's.

    python benchmarks/peers/make_environment.py [FOLDER]

FOLDER is `benchmarks/peers/.venv` by default, where `run_speed.py` finds it. Versions are those of `requirements.txt`.
Where the package index has no PyTorch without CUDA, set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
"""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Make the environment; return pip's exit status."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / ".venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--only-binary", ":all:", "-r", HERE / "requirements.txt"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
