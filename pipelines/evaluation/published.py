"""Published values of the same models on the same data, for comparison with ours."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.evaluation.legs import OpenLeg
from pipelines.evaluation.systems import MULTIFIELD, System
from pipelines.search.fusing import with_method

_KNOWN_WEIGHTS = {"53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": "all-minilm-l6-v2"}
"""Models by the SHA-256 of their weights, so that local copies are recognised."""

_SAME = {"ms-marco-minilm-l6-v2": "ms-marco-minilm-l-6-v2"}
"""Other spellings of model names in the table."""


def published_figures(dataset: str, system: System, legs: Mapping[str, OpenLeg]) -> dict[str, dict[str, Any]]:
    """Return published values for this system on this dataset: ``{measure: {"value", "source"}}``.

    A value matches if it has the same models as legs, the same fusion with equal weights and the same reranker, if
    any, over as many candidates. The table is ``published.json``, which gives the source of each value.
    """
    fusion, reranker = system.config.fusion, system.config.reranker
    weights = (fusion or {}).get("weights")
    if weights is not None and len(set(weights.values() if isinstance(weights, Mapping) else weights)) > 1:
        return {}
    wanted = (
        tuple(_leg_name(legs[name]) for name in system.legs),
        with_method(fusion).get("method") if fusion is not None and len(system.legs) > 1 else None,
        _name(reranker.model) if reranker is not None else None,
        reranker.candidates if reranker is not None else None,
    )
    return {
        entry["measure"]: {"value": entry["figures"][dataset], "source": entry["source"]}
        for entry in _table()
        if dataset in entry["figures"]
        and (tuple(entry["legs"]), entry.get("fusion"), entry.get("reranker"), entry.get("candidates")) == wanted
    }


@cache
def _table() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
    return found


def _leg_name(leg: OpenLeg) -> str:
    if leg.encoder is None:
        weights = leg.determines["parameters"].get("weights") or {}
        return "bm25" if not weights else MULTIFIELD if set(weights.values()) == {1.0} else "bm25 of weighted fields"
    identity = leg.encoder.identity
    return _KNOWN_WEIGHTS.get(str(identity["weights_sha256"])) or _name(str(identity["name"]))


def _name(model: str) -> str:
    """Return a model's name without its owner, in lower case."""
    name = model.rstrip("/").rpartition("/")[2].lower()
    return _SAME.get(name, name)
