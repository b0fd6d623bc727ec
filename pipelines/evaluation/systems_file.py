"""The systems file: the legs and systems that a person describes, in YAML or JSON."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from indexing.settings_files import read_dataclass, read_yaml
from pipelines.evaluation.systems import LegSpec, Plan, System
from pipelines.search.config import SearchConfig
from retrieve.hybrid import DEPTH

logger = logging.getLogger(__name__)

_KEYS = ("name", "legs", "fusion", "depth", "reranker")
_OLD_KEYS = ("weights", "rrf_k", "candidates", "reranker_weight")


def read_systems(path: str | Path, legs: Mapping[str, LegSpec], *, depth: int = DEPTH, dtype: str = "auto") -> Plan:
    """Read a file of systems, YAML or JSON.

    It holds ``systems``, a list of a name and the keys of `SearchConfig` each, and may hold ``legs``, the fields of
    `LegSpec` by name, in addition to `legs`::

        legs:
          bge: {kind: dense, model: BAAI/bge-base-en-v1.5}
        systems:
          - {name: bm25, legs: [bm25]}
          - {name: bm25+bge, legs: [bm25, bge], fusion: {method: rrf, weights: [1, 2]}, depth: 200}
          - {name: reranked, legs: [bm25, bge], reranker: {model: BAAI/bge-reranker-base, candidates: 100}}

    The keys of earlier versions are still read: ``fusion`` as a name, ``weights``, ``rrf_k``, ``candidates`` and
    ``reranker_weight`` of a system; a warning shows the new ones.

    Parameters
    ----------
    depth, dtype
        Depth of the systems, and precision of the rerankers, for which the file gives none.

    Raises
    ------
    InputError
        Naming the file and the system or leg at fault.
    """
    content = read_yaml(path)
    try:
        return _plan(content, str(path), legs, {"depth": depth}, {"dtype": dtype})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _plan(
    content: Any, path: str, legs: Mapping[str, LegSpec], defaults: Mapping[str, Any], reranker: Mapping[str, Any]
) -> Plan:
    if not isinstance(content, Mapping) or not isinstance(content.get("systems"), list) or not content["systems"]:
        raise InputError("it must hold a list `systems`")
    if unknown := set(content) - {"systems", "legs"}:
        raise InputError(f"unknown key {sorted(map(str, unknown))[0]!r}: there are systems and legs")
    found = dict(legs)
    for name, options in (content.get("legs") or {}).items():
        options = {"name": str(name), **options} if isinstance(options, Mapping) else options
        found[str(name)] = read_dataclass(LegSpec, options, f"leg {name!r}")
    given = [_options(options) for options in content["systems"]]
    current = [_without_old_keys(options) for options in given]
    if current != given:
        logger.warning(
            "%s has keys of an earlier version: write fusion: {method: rrf, k: 60, weights: [1, 2]} and "
            "reranker: {model: MODEL, candidates: 50, weight: 0.2}",
            path,
        )
    return Plan(found, tuple(_system(options, defaults, reranker) for options in current))


def _options(given: Any) -> dict[str, Any]:
    """Return a system's options as the file has them, without those that are null."""
    if not isinstance(given, Mapping):
        raise InputError(f"a system must be keys with values, not {given!r}")
    if not isinstance(given.get("name"), str):
        raise InputError(f"a system has no name: {dict(given)}")
    if unknown := next((key for key in given if key not in (*_KEYS, *_OLD_KEYS)), None):
        raise InputError(f"system {given['name']!r}: unknown key {unknown!r}: known are {', '.join(_KEYS)}")
    return {key: value for key, value in given.items() if value is not None}


def _without_old_keys(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a system's options with the keys of earlier versions replaced by today's."""
    new = {key: value for key, value in options.items() if key not in _OLD_KEYS}
    fusion = new.get("fusion")
    if isinstance(fusion, str) or "weights" in options or "rrf_k" in options:
        fusion = dict(fusion) if isinstance(fusion, Mapping) else {"method": fusion or "weighted-sum"}
        if "weights" in options:
            fusion["weights"] = options["weights"]
        if "rrf_k" in options and fusion.get("method") == "rrf":
            fusion.setdefault("k", options["rrf_k"])
        new["fusion"] = fusion
    old = {"candidates": options.get("candidates"), "weight": options.get("reranker_weight")}
    old = {key: value for key, value in old.items() if value is not None}
    if old and (reranker := new.get("reranker")):
        new["reranker"] = old | (dict(reranker) if isinstance(reranker, Mapping) else {"model": reranker})
    return new


def _system(options: Mapping[str, Any], defaults: Mapping[str, Any], reranker_defaults: Mapping[str, Any]) -> System:
    content = {**defaults, **options}
    name, reranker = content.pop("name"), content.get("reranker")
    if reranker is not None:
        content["reranker"] = {
            **reranker_defaults,
            **(reranker if isinstance(reranker, Mapping) else {"model": reranker}),
        }
    return System(name, SearchConfig.load(content, f"system {name!r}"))
