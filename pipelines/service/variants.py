"""Variants: search systems that differ from the configured one in what a request names, kept ready for the next."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from indexing.collection.manifest import Manifest
from indexing.errors import InputError
from pipelines.models import LATE_INTERACTION
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from pipelines.search.following import Parts
from pipelines.search.opening import first_stage
from pipelines.search.stages import Stages
from pipelines.service.config import ModelEntry
from pipelines.service.search_body import NO_RERANKER, SearchBody
from pipelines.service.served_models import short_name

MAX_VARIANTS = 16
"""Systems that are kept ready."""

CHOICES = ("legs", "fusion", "depth", "reranker", "candidates")
"""Fields of a request that select another system than the configured one."""


class Variants:
    """Systems over one state of a collection; any number of threads may use them.

    Parameters
    ----------
    parts
        The opened parts of the configured system.
    crosses
        Cross-encoders that a request may choose, by name, beside the configured reranker and late interaction.
    """

    def __init__(self, parts: Parts, crosses: Mapping[str, ModelEntry]) -> None:
        self.parts, self._crosses = parts, crosses
        self._made: dict[str, Stages] = {}
        self._rerankers: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def config(self) -> SearchConfig:
        """The configuration that the parts were opened with."""
        return self.parts.config or SearchConfig()

    def stages(self, stages: Stages, body: SearchBody) -> Stages:
        """Return the stages that a request asks for; the given ones where it names no others.

        Raises
        ------
        InputError
            For an unknown leg, fusion or reranker, or candidates without a reranker.
        """
        chosen = {name: value for name in CHOICES if (value := getattr(body, name)) is not None}
        if not chosen:
            return stages
        key = json.dumps(chosen, sort_keys=True)
        with self._lock:
            if key not in self._made:
                made = self._make(stages, chosen)
                if len(self._made) >= MAX_VARIANTS:
                    # The threads of the oldest one end when no search uses it any longer.
                    self._made.pop(next(iter(self._made)))
                self._made[key] = made
            return self._made[key]

    def rerankers(self, manifest: Manifest) -> list[str]:
        """Return the names of the rerankers that a request may choose."""
        configured = self.config.reranker
        names = [] if configured is None else [short_name(configured.model)]
        if any(leg.rows in ("vectors", "tokens") for leg in manifest.legs.values()):
            names.append(LATE_INTERACTION)
        return list(dict.fromkeys([*names, *self._crosses]))

    def _make(self, stages: Stages, chosen: Mapping[str, Any]) -> Stages:
        if {"legs", "fusion", "depth"} & chosen.keys():
            config, leg = self._config(chosen, stages.snapshot.manifest), self.parts.leg
            assert leg is not None, "a served pipeline is opened from its collection"
            stages = replace(stages, retriever=first_stage([leg(name) for name in config.legs or {}], config))
        if "reranker" in chosen:
            stages = replace(stages, reranker=self._reranker(chosen["reranker"], stages.snapshot.manifest))
        if "candidates" in chosen:
            if stages.reranker is None:
                raise InputError("candidates are for a reranker, and this search has none: choose one with reranker")
            stages = replace(stages, candidates=chosen["candidates"])
        return stages

    def _config(self, chosen: Mapping[str, Any], manifest: Manifest) -> SearchConfig:
        """Return the configuration of the chosen first stage; other legs are fused by default as suits them."""
        config, stated = self.config, self.config.legs or {}
        names = chosen.get("legs") or list(stated)
        unknown = next((name for name in names if name not in manifest.legs), None)
        if unknown is not None:
            raise InputError(f"legs: there is no leg {unknown!r}; there are {', '.join(manifest.legs)}")
        legs = {name: stated.get(name, LegConfig()) for name in names}
        if "depth" in chosen:
            legs = {name: replace(leg, depth=None) for name, leg in legs.items()}
        fusion = chosen.get("fusion", config.fusion if "legs" not in chosen else None)
        if isinstance(fusion, str):
            fusion = {"method": fusion}
        return replace(config, legs=legs, fusion=fusion, depth=chosen.get("depth", config.depth))

    def _reranker(self, name: str, manifest: Manifest) -> Any:
        """Return a reranker by its name; one that reads token vectors takes the stored ones, as the pipeline does."""
        configured, make = self.config.reranker, self.parts.make_reranker
        if name == NO_RERANKER:
            return None
        if configured is not None and name in (configured.model, short_name(configured.model)):
            return self.parts.reranker
        known = self.rerankers(manifest)
        if name not in known:
            raise InputError(f"reranker: {name!r} is not served; there are {', '.join([*known, NO_RERANKER])}")
        assert make is not None, "a served pipeline is opened from its collection"
        if name not in self._rerankers:
            entry = self._crosses.get(name)
            config = RerankerConfig(name) if entry is None else RerankerConfig(entry.path, dtype=entry.dtype)
            self._rerankers[name] = make(config)
        return self._rerankers[name]
