"""Whole jobs: build a collection, search it, score it, the command line (floor 2: builds on `retrieve`).

Names are loaded when first used, so importing this package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.build.job import build_collection
    from pipelines.search import SearchPipeline

_HOME = {"SearchPipeline": "pipelines.search", "build_collection": "pipelines.build.job"}

__all__ = ["SearchPipeline", "build_collection"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
