"""Encoders while they are trained: from tokens to vectors or scores, with gradients.

A batch is divided by length before it is run, as when encoding, so that little is computed on padding: the sampler
need not put texts of one length together. But for dropout's random numbers the result is that of the whole batch.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from indexing.errors import InputError, ModelError
from retrieve.encoders.batching import Tokens, plan_batches

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder
    from retrieve.encoders.modules.module import Features


LEAST_BUDGET = 4096
"""Padded tokens that are run at once, or more: weights that change are not laid out for small batches to be fast."""


class _TrainedEncoder(nn.Module):
    """Holds an encoder's network, so that its weights are found and trained in place."""

    def __init__(self, encoder: "Encoder") -> None:
        super().__init__()
        if encoder.dtype != torch.float32:
            raise ModelError(
                f"{encoder.checkpoint.name} was loaded in {str(encoder.dtype).removeprefix('torch.')}, in which small "
                'steps are lost: load it with dtype="float32" to train it (bf16=True then computes in bfloat16)'
            )
        self.encoder, self.network = encoder, encoder.network

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def _batches(self, lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        costs = self.encoder.engine.costs
        return plan_batches(
            lengths,
            token_budget=max(LEAST_BUDGET, costs.token_budget),
            batch_cost=costs.batch_cost,
            max_rows=costs.max_rows,
        )


class EmbeddingModel(_TrainedEncoder):
    """A dense or sparse encoder: features of tokenised texts in, ``sentence_embedding`` out."""

    def tokenize(self, texts: Sequence[str], *, task: str | None = None, prompt: str = "") -> Tokens:
        """Cut texts into tokens, by the route of `task` where the model has several."""
        return self.encoder.engine_for(task).input.tokenize(texts, prompt)

    def column(self, tokens: Tokens, rows: NDArray[np.int64], texts: list[str], task: str | None) -> "Features":
        """Give the features of one column of a batch."""
        features: Features = {name: torch.from_numpy(array) for name, array in tokens.padded(rows).items()}
        return features | {
            "prompt_length": tokens.prompt_length,
            "pad_left": tokens.pad_left,
            "texts": texts,
            "task": task,
        }

    def forward(self, features: "Features") -> "Features":
        """Embed the texts of one column: adds ``sentence_embedding``, float32 [texts, width]."""
        from retrieve.encoders.modules.router import modules_for_task

        modules = modules_for_task(self.encoder.modules, features.get("task"))
        lengths = features["attention_mask"].sum(dim=1).cpu().numpy()
        batches = self._batches(lengths)
        if len(batches) <= 1:
            return _run(modules, dict(features))
        parts = [_pooled(modules, _some_rows(features, rows, int(lengths[rows].max()))) for rows in batches]
        order = torch.from_numpy(np.argsort(np.concatenate(batches))).to(self.device)
        # What stands behind the pooling may look at the batch as a whole, and add to the features.
        vectors = torch.cat([vectors for vectors, _ in parts])[order]
        return _run(modules[parts[0][1] :], features | {"sentence_embedding": vectors})

    def layers(self, features: "Features") -> list[Callable[[], Tensor]]:
        """Run the transformer once; give what would be the vectors after each of its layers, on demand.

        The first is of the word embeddings alone, the last is the whole model's.

        Raises
        ------
        InputError
            When the model is no transformer that gives token vectors.
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
        vectors: Tensor = _run(modules, features | {"token_embeddings": state})["sentence_embedding"]
        return vectors


class ScoringModel(_TrainedEncoder):
    """A cross-encoder: pairs of texts in, logits out.

    Parameters
    ----------
    prompt
        Put before each query; a trainer sets it.
    """

    def __init__(self, encoder: "Encoder", prompt: str = "") -> None:
        super().__init__(encoder)
        self.prompt = prompt

    def forward(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Give the logits of (query, document) pairs, float32 [pairs, labels]."""
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
            parts.append(_run(self.encoder.modules, features)["scores"].float())
        return torch.cat(parts)[torch.from_numpy(np.argsort(np.concatenate(batches))).to(self.device)]


def trained(model: Any) -> Any:
    """Give an encoder in the form that losses and trainers use, always the same one; leave anything else as it is."""
    from retrieve.encoders.base import Encoder

    if not isinstance(model, Encoder):
        return model
    found = vars(model).get("_trained")
    if found is None:
        found = ScoringModel(model) if model.output == "scores" else EmbeddingModel(model)
        vars(model)["_trained"] = found
    return found


def _run(modules: Sequence[Any], features: "Features") -> "Features":
    for module in modules:
        features = module(features)
    return features


def _pooled(modules: Sequence[Any], features: "Features") -> tuple[Tensor, int]:
    """Run modules until there is a vector for each text; give the vectors, and how many modules it took."""
    done = 0
    while "sentence_embedding" not in features:
        features, done = modules[done](features), done + 1
    return features["sentence_embedding"], done


def _some_rows(features: "Features", rows: NDArray[np.int64], width: int) -> "Features":
    chosen = torch.from_numpy(rows).to(features["attention_mask"].device)
    part = dict(features)
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        if name in features:
            of_rows = features[name][chosen]
            part[name] = of_rows[:, of_rows.shape[1] - width :] if features.get("pad_left") else of_rows[:, :width]
    return part
