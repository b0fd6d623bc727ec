"""Encoders and rerankers as services of their own: texts of concurrent requests are encoded in common batches."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.models import LATE_INTERACTION, Models
from pipelines.service.batcher import Batch
from pipelines.service.config import ModelEntry, ModelKind
from pipelines.service.errors import ServiceError

logger = logging.getLogger(__name__)

CHARS_PER_TOKEN = 4
"""Rough estimate for a tokenizer that cannot count."""

Kind = Literal["dense", "sparse", "cross-encoder", "late-interaction"]


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """Options of an encoding; the texts of requests with equal options are encoded together.

    Parameters
    ----------
    task, prompt_name, normalize, dimensions
        As ``task``, ``prompt_name``, ``normalize`` and ``truncate_dim`` of `DenseEncoder.encode`.
    """

    task: Literal["query", "document"] | None = None
    prompt_name: str | None = None
    normalize: bool = False
    dimensions: int | None = None


class ServedModel:
    """One loaded model under its name.

    Parameters
    ----------
    name
        What requests call it.
    kind
        What it returns: vectors, term weights, or scores of pairs.
    encoder
        The loaded encoder; of late interaction, the dense encoder whose token vectors are compared.
    """

    def __init__(self, name: str, kind: Kind, encoder: Any) -> None:
        self.name, self.kind, self.encoder = name, kind, encoder
        backend = getattr(getattr(encoder.input, "tokenizer", None), "backend_tokenizer", None)
        self._tokenizer: Any = None
        if backend is not None:
            # A copy, because another thread may use the tokenizer.
            self._tokenizer = type(backend).from_str(backend.to_str())
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        if kind == "cross-encoder":
            import torch

            self._raw = copy.copy(encoder)
            self._raw.activation = torch.nn.Identity()
        elif kind == "late-interaction":
            from retrieve.reranking.late_interaction import LateInteractionReranker

            self._late = LateInteractionReranker(encoder, weight=0.0, cache_bytes=0)

    @property
    def max_length(self) -> int:
        """Number of tokens that the model reads of a text."""
        return int(self.encoder.max_length or 0) or 1_000_000

    def count(self, texts: Sequence[Any]) -> NDArray[np.int64]:
        """Return the number of tokens of each text or pair before truncation: int64 [texts]."""
        if self._tokenizer is None:
            lengths = [len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts]
            return np.array(lengths, np.int64) // CHARS_PER_TOKEN + 1
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=True)
        except (UnicodeEncodeError, TypeError):
            raise InputError("a text contains half a surrogate pair, not a character: fix or remove it") from None
        return np.array([len(encoding.ids) for encoding in encodings], np.int64)

    def run(self, options: EncodeOptions, batch: Batch[Sequence[Any]]) -> Sequence[Any]:
        """Encode or score the texts of several requests; return the rows of each request."""
        texts = [text for item in batch.items for text in item]
        if self.kind == "dense":
            rows = self.encoder.encode(
                texts,
                task=options.task,
                prompt_name=options.prompt_name,
                normalize=options.normalize,
                truncate_dim=options.dimensions,
            )
        elif self.kind == "sparse":
            rows = self.encoder.encode(texts, task=options.task, prompt_name=options.prompt_name)
        elif self.kind == "cross-encoder":
            rows = self._raw.predict(texts)
        else:
            rows = np.concatenate([self._max_sim(item) for item in batch.items])
        bounds = np.cumsum([0, *map(len, batch.items)])
        return [rows[start:stop] for start, stop in pairwise(bounds)]

    def probability(self, raw: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return scores as numbers from 0 to 1: the sigmoid of a cross-encoder's, half of MaxSim plus one."""
        scores = np.asarray(raw, np.float64)
        if self.kind == "late-interaction":
            return np.clip((1 + scores) / 2, 0.0, 1.0)
        return np.exp(-np.logaddexp(0.0, -scores))

    def _max_sim(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        ids = [f"{at:09d}" for at in range(len(pairs))]
        texts = {doc_id: text for doc_id, (_, text) in zip(ids, pairs, strict=True)}
        hits = Hits.from_run({"": dict.fromkeys(ids, 0.0)}, [""])
        ranking = self._late.rerank([pairs[0][0]], hits, texts, depth=len(pairs))[0]
        scores = np.zeros(len(pairs))
        for hit in ranking:
            scores[int(hit.doc_id)] = hit.score
        return scores


class ServedModels:
    """The models of a service, by name; the first of a kind answers requests that name none."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ServedModel] = {}

    def __iter__(self) -> Any:
        return iter(self._models.values())

    def load(self, entries: Mapping[str, ModelEntry], models: Models) -> None:
        """Load the models of a configuration."""
        load: dict[ModelKind, Any] = {
            "dense": models.dense,
            "sparse": models.sparse,
            "cross-encoder": models.cross_encoder,
        }
        for name, entry in entries.items():
            self.add(name, entry.kind, load[entry.kind](entry.path, entry.dtype))

    def add(self, name: str, kind: Kind, encoder: Any) -> None:
        """Add a loaded model; a dense one also as a reranker by late interaction, unless there is one."""
        self._models.setdefault((kind, name), ServedModel(name, kind, encoder))
        if kind == "dense" and ("late-interaction", LATE_INTERACTION) not in self._models:
            self._models["late-interaction", LATE_INTERACTION] = ServedModel(
                LATE_INTERACTION, "late-interaction", encoder
            )

    def find(self, name: str | None, *kinds: Kind) -> ServedModel:
        """Return the model of one of these kinds with this name; for None, the first one.

        Raises
        ------
        ServiceError
            404 for an unknown name, 424 when there is no model of these kinds.
        """
        known = [self._models[key] for kind in kinds for key in self._models if key[0] == kind]
        if not known:
            raise ServiceError(424, f"no {' or '.join(kinds)} model is served", "name one in serve.yaml, key models")
        found = known[0] if name is None else next((model for model in known if model.name == name), None)
        if found is None:
            names = ", ".join(model.name for model in known)
            raise ServiceError(404, f"the model {name!r} is not served; there are {names}", code="model_not_found")
        return found


def short_name(model: Any) -> str:
    """Return the last part of a model's path or Hub name, which does not tell where it lies."""
    return Path(str(model)).name
