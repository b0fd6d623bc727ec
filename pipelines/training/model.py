"""Encoders in training: from tokens to vectors or scores, with gradients.

As in encoding, a batch is split by length to save computation on padding, so the sampler need not group texts by
length. Except for the random numbers of dropout, the result equals that of running the whole batch at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from indexing.errors import InputError, ModelError
from pipelines.training.roles import task_of_column
from retrieve.encoders.batching import Tokens, plan_batches

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder
    from retrieve.encoders.modules.module import Features


MIN_TOKEN_BUDGET = 4096
"""Lower bound of the padded tokens run at once: small batches are fast only with weights packed for inference."""


class _TrainedEncoder(nn.Module):
    """Base class of modules that hold an encoder's network, whose weights are trained in place.

    Attributes
    ----------
    splits_batches
        Split a batch by length. Processes among which each layer is divided must all run it equally often.
    """

    splits_batches = True

    def __init__(self, encoder: "Encoder") -> None:
        super().__init__()
        if encoder.dtype != torch.float32:
            raise ModelError(
                f"{encoder.checkpoint.name} was loaded in {str(encoder.dtype).removeprefix('torch.')}, which loses "
                'small steps: load it with dtype="float32" to train it (bf16=True then computes in bfloat16)'
            )
        self.encoder, self.network = encoder, encoder.network

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Recompute activations in the backward pass instead of storing them; `transformers.Trainer` calls this.

        Raises
        ------
        InputError
            If no part of the encoder supports this.
        """
        backbones = list(_checkpointable(self.network))
        if not backbones:
            raise InputError(
                f"gradient_checkpointing: {self.encoder.checkpoint.name} has no transformer that supports it: leave it "
                "out"
            )
        # The reentrant form loses the gradients of layers whose inputs have none, such as the first.
        arguments = {"use_reentrant": False, **(activation_checkpointing_kwargs or {})}
        for backbone in backbones:
            if hasattr(backbone, "activation_checkpointing_enable"):
                backbone.activation_checkpointing_enable(arguments, **options)
            else:  # transformers below 5
                backbone.gradient_checkpointing_enable(arguments, **options)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Do the same, under the name that older releases of transformers call."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    def _batches(self, lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        if not self.splits_batches:
            return [np.arange(len(lengths))]
        costs = self.encoder.engine.costs
        return plan_batches(
            lengths,
            token_budget=max(MIN_TOKEN_BUDGET, costs.token_budget),
            batch_cost=costs.batch_cost,
            max_rows=costs.max_rows,
        )


class EmbeddingModel(_TrainedEncoder):
    """A dense or sparse encoder: maps features of tokenized texts to ``sentence_embedding``."""

    def tokenize(self, texts: Sequence[str], *, task: str | None = None, prompt: str = "") -> Tokens:
        """Tokenize texts for a task, which selects the route of a model with a router."""
        return self.encoder.engine_for(task).input.tokenize(texts, prompt, task)

    def task_of(self, position: int, route: str | None) -> str | None:
        """Return the task of an input column: its route through a model with a router, if any."""
        return route

    def column(self, tokens: Tokens, rows: NDArray[np.int64], texts: list[str], task: str | None) -> "Features":
        """Return the features of one column of a batch."""
        features: Features = {name: torch.from_numpy(array) for name, array in tokens.padded(rows).items()}
        return features | {
            "prompt_length": tokens.prompt_length,
            "pad_left": tokens.pad_left,
            "texts": texts,
            "task": task,
        }

    def forward(self, features: "Features") -> "Features":
        """Embed the texts of one column: add ``sentence_embedding``, float32 [texts, width], to their features."""
        from retrieve.encoders.modules.router import modules_for_task

        modules = modules_for_task(self.encoder.modules, features.get("task"))
        lengths = token_counts(features).cpu().numpy()
        batches = self._batches(lengths)
        if len(batches) <= 1:
            return _run_modules(modules, dict(features))
        parts = [_pooled(modules, _some_rows(features, rows, int(lengths[rows].max()))) for rows in batches]
        order = torch.from_numpy(np.argsort(np.concatenate(batches))).to(self.device)
        # Modules after the pooling may depend on the whole batch, and may add features.
        vectors = torch.cat([vectors for vectors, _ in parts])[order]
        return _run_modules(modules[parts[0][1] :], features | {"sentence_embedding": vectors})

    def layers(self, features: "Features") -> list[Callable[[], Tensor]]:
        """Run the transformer once; return a function per layer that computes the vectors from this layer's output.

        The first function uses the word embeddings alone; the last one computes the vectors of the whole model.

        Raises
        ------
        InputError
            If the model does not begin with a transformer that outputs token vectors.
        """
        from retrieve.encoders.modules.router import modules_for_task
        from retrieve.encoders.modules.transformer import Transformer

        first, *others = modules_for_task(self.encoder.modules, features.get("task"))
        if not isinstance(first, Transformer) or first.transformer_task != "feature-extraction":
            raise InputError("only a transformer with pooling can be trained layer by layer")
        states = first.hidden_states(features)
        return [partial(self._after, others, features, state) for state in states]

    @staticmethod
    def _after(modules: Sequence[Any], features: "Features", state: Tensor) -> Tensor:
        vectors: Tensor = _run_modules(modules, features | {"token_embeddings": state})["sentence_embedding"]
        return vectors


class TokenEmbeddingModel(EmbeddingModel):
    """A multi-vector encoder: maps features of tokenized texts to ``token_embeddings`` with their mask.

    Attributes
    ----------
    max_length
        Maximum tokens of a text, or {task: maximum}, instead of the encoder's; a trainer sets it.
    """

    max_length: int | Mapping[str, int] | None = None

    def tokenize(self, texts: Sequence[str], *, task: str | None = None, prompt: str = "") -> Tokens:
        """Tokenize texts for a task, truncated to `max_length`."""
        length = self.max_length
        if isinstance(length, Mapping):
            length = length.get(task or "")
        limit: dict[str, Any] = {} if length is None else {"max_length": length}
        return self.encoder.engine_for(task).input.tokenize(texts, prompt, task, **limit)

    def task_of(self, position: int, route: str | None) -> str | None:
        """Return the task of an input column: the first one holds queries, unless a route is given."""
        return route or task_of_column(position)

    def forward(self, features: "Features") -> "Features":
        """Embed the tokens of one column.

        Add ``token_embeddings``, float32 [texts, tokens, width], and replace ``attention_mask`` by the mask of the
        tokens whose vectors count.
        """
        from retrieve.encoders.modules.router import modules_for_task

        modules = modules_for_task(self.encoder.modules, features.get("task"))
        lengths = token_counts(features).cpu().numpy()
        batches = self._batches(lengths)
        parts = [_run_modules(modules, _some_rows(features, rows, int(lengths[rows].max()))) for rows in batches]
        order = torch.from_numpy(np.argsort(np.concatenate(batches))).to(self.device)
        found = {
            name: concatenate_rows([part[name] for part in parts])[order]
            for name in ("token_embeddings", "attention_mask")
        }
        return features | found


class ScoringModel(_TrainedEncoder):
    """A cross-encoder: maps pairs of texts to logits.

    Parameters
    ----------
    prompt
        Prefix of each query; a trainer sets it.
    """

    def __init__(self, encoder: "Encoder", prompt: str = "") -> None:
        super().__init__(encoder)
        self.prompt = prompt

    def forward(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Return the logits of (query, document) pairs, float32 [pairs, labels]."""
        if not pairs:
            return torch.zeros((0, self.encoder.dimension), device=self.device)
        tokens = self.encoder.engine.input.tokenize(pairs, self.prompt)
        batches = self._batches(tokens.lengths)
        parts = []
        for rows in batches:
            features: Features = {
                name: torch.from_numpy(array).to(self.device) for name, array in tokens.padded(rows).items()
            }
            features["prompt_length"] = tokens.prompt_length
            parts.append(_run_modules(self.encoder.modules, features)["scores"].float())
        return torch.cat(parts)[torch.from_numpy(np.argsort(np.concatenate(batches))).to(self.device)]


def trained(model: Any) -> Any:
    """Return the trainable module of an encoder, always the same object; return any other module unchanged."""
    from retrieve.encoders.base import Encoder

    if not isinstance(model, Encoder):
        return model
    module = vars(model).get("_trained")
    if module is None:
        kinds = {"scores": ScoringModel, "token_embeddings": TokenEmbeddingModel}
        module = kinds.get(model.output, EmbeddingModel)(model)
        vars(model)["_trained"] = module
    return module


def token_counts(features: "Features") -> Tensor:
    """Return the number of tokens of each text of a column, those that expand a query included; int64 [texts]."""
    counts: Tensor = features["attention_mask"].sum(dim=1)
    return counts + features["expansion_mask"].sum(dim=1) if "expansion_mask" in features else counts


def concatenate_rows(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate embeddings; those of tokens, [rows, tokens, dim], are padded with zeros to the same width."""
    width = max(part.shape[1] for part in parts)
    return torch.cat(
        [
            part if part.shape[1] == width else F.pad(part, (0, 0) * (part.ndim - 2) + (0, width - part.shape[1]))
            for part in parts
        ]
    )


def has_router(encoder: Any) -> bool:
    """Return whether an encoder has a router, which runs different modules for different tasks."""
    from retrieve.encoders.modules.router import Router

    return any(isinstance(module, Router) for module in encoder.modules)


def _checkpointable(network: nn.Module) -> Iterator[Any]:
    """Yield the outermost modules of a network that can recompute their activations."""
    for child in network.children():
        if getattr(child, "supports_gradient_checkpointing", False):
            yield child
        else:
            yield from _checkpointable(child)


def _run_modules(modules: Sequence[Any], features: "Features") -> "Features":
    for module in modules:
        features = module(features)
    return features


def _pooled(modules: Sequence[Any], features: "Features") -> tuple[Tensor, int]:
    """Run modules until there is a vector for each text; return the vectors and the number of modules run."""
    count = 0
    while "sentence_embedding" not in features:
        features, count = modules[count](features), count + 1
    return features["sentence_embedding"], count


def _some_rows(features: "Features", rows: NDArray[np.int64], width: int) -> "Features":
    chosen = torch.from_numpy(rows).to(features["attention_mask"].device)
    part = dict(features)
    for name in ("input_ids", "attention_mask", "token_type_ids", "expansion_mask"):
        if name in features:
            values = features[name][chosen]
            part[name] = values[:, values.shape[1] - width :] if features.get("pad_left") else values[:, :width]
    return part
