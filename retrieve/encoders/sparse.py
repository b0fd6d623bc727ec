"""Sparse encoder: texts to weighted terms of the model's vocabulary."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from indexing.inputs import whole_number
from retrieve.encoders.base import LoadArguments, Task
from retrieve.encoders.compared import ComparesVectors, NamedSimilarity
from retrieve.encoders.engine import TEXTS_PER_CHUNK, Chunk, check_finite
from retrieve.encoders.functions import SparseFunction
from retrieve.encoders.modules import Step
from retrieve.encoders.prompted import PromptedEncoder
from retrieve.encoders.term_weights import check_weights, shared_weights
from retrieve.encoders.workers import EncoderWorkers, worker_pool

if TYPE_CHECKING:
    from torch import Tensor

    from retrieve.encoders.modules.module import Features


class SparseOptions(TypedDict, total=False):
    """Keyword arguments of `SparseEncoder`'s encode methods, documented in `encode`."""

    prompt: str | None
    prompt_name: str | None
    max_active_dims: int | None
    show_progress: bool
    token_budget: int | None
    pool: EncoderWorkers | None
    device: Sequence[str] | None


class SparseEncoder(NamedSimilarity, ComparesVectors, PromptedEncoder):
    """Encoder of texts as sparse rows of term weights, as SPLADE does.

    Reads sentence-transformers' sparse checkpoints; a plain masked-language-model checkpoint is pooled as SPLADE-max.

    Parameters
    ----------
    model, arguments
        See `Encoder` and `PromptedEncoder`.
    max_active_dims
        Keep only this many terms of each text, the heaviest; by default the checkpoint's setting, or all. For a sparse
        autoencoder it replaces the model's own `k` and may be larger or smaller.
    """

    kind = "sparse"
    default_similarity = "dot"
    organisation = "sparse-encoder"
    model_type = "SparseEncoder"
    default_steps = (Step("MLMTransformer", config={}), Step("SpladePooling", config={}))
    # A batch is a dense [texts, vocabulary] array before it becomes sparse: 256 x 30,522 floats are 31 MB.
    max_rows = 256
    # Long texts of BERT-base hold 12 KB per token, twice, in float32: 16,384 tokens stay under 1 GB.
    max_tokens = 16_384

    def __init__(
        self, model: str | Path, *, max_active_dims: int | None = None, **arguments: Unpack[LoadArguments]
    ) -> None:
        super().__init__(model, **arguments)
        if max_active_dims is None:
            max_active_dims = self.checkpoint.settings.get("max_active_dims")
        self.max_active_dims = None if max_active_dims is None else whole_number(max_active_dims, "max_active_dims")

    of = staticmethod(SparseFunction)

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the encoder, including its similarity and `max_active_dims`."""
        return super().identity | {"similarity": self.similarity_fn_name, "max_active_dims": self.max_active_dims}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the encoder, including its similarity and `max_active_dims`."""
        limit = {} if self.max_active_dims is None else {"max_active_dims": self.max_active_dims}
        return super().settings | {"similarity_fn_name": self.similarity_fn_name} | limit

    @cached_property
    def vocabulary(self) -> list[str]:
        """Term of each column, as the tokenizer writes it; latents are numbered."""
        modules: list[Any] = list(self.engine.network)
        return next(module.vocabulary for module in reversed(modules) if module.vocabulary is not None)

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        task: Task | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        max_active_dims: int | None = None,
        show_progress: bool = False,
        token_budget: int | None = None,
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
    ) -> csr_matrix:
        """Encode texts.

        Parameters
        ----------
        texts
            One text, or any number.
        task
            "query" or "document"; selects the prompt, and the route of a model with several.
        prompt, prompt_name
            Prompt to use instead of the task's, as text or by its name in the encoder's `prompts`.
        max_active_dims
            Keep only this many terms of each text, instead of the encoder's setting.
        show_progress
            Show a progress bar on stderr, counted in texts.
        token_budget
            Maximum tokens in a batch, including padding that is computed; by default the best for the device. On a CPU
            all running batches together have at most 16,384 tokens, which keeps memory below 1 GB beside the model.
        pool
            Worker processes to encode in, from `start_multi_process_pool`.
        device
            List of devices to encode on, with one process each for the length of the call.

        Returns
        -------
        scipy.sparse.csr_matrix, float32 [texts, vocabulary]
            In the order of `texts`, with ascending columns and no stored zeros; one row for a single text.

        Raises
        ------
        InputError
            If an item is not a text; the message has its position.
        """
        blocks = list(
            self.encode_stream(
                [texts] if isinstance(texts, str) else texts,
                task=task,
                prompt=prompt,
                prompt_name=prompt_name,
                max_active_dims=max_active_dims,
                show_progress=show_progress,
                token_budget=token_budget,
                pool=pool,
                device=device,
            )
        )
        if not blocks:
            return csr_matrix(np.zeros((0, self.dimension), np.float32))
        return blocks[0] if len(blocks) == 1 else csr_matrix(vstack(blocks, format="csr"))

    def encode_query(self, texts: str | Iterable[str], **options: Unpack[SparseOptions]) -> csr_matrix:
        """Encode queries: `encode` with task="query"."""
        return self.encode(texts, task="query", **options)

    def encode_document(self, texts: str | Iterable[str], **options: Unpack[SparseOptions]) -> csr_matrix:
        """Encode documents: `encode` with task="document"."""
        return self.encode(texts, task="document", **options)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        task: Task | None = None,
        chunk: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        max_active_dims: int | None = None,
        show_progress: bool = False,
        token_budget: int | None = None,
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
    ) -> Iterator[csr_matrix]:
        """Encode a stream of texts, yielding blocks of up to `chunk` rows in order; see `encode`."""
        limit = self.max_active_dims if max_active_dims is None else max_active_dims
        limit = None if limit is None else whole_number(limit, "max_active_dims")
        prompt = self.resolve_prompt(prompt, task, prompt_name)
        if pool is not None or device is not None:
            options = {"task": task, "prompt": prompt, "max_active_dims": limit, "token_budget": token_budget}
            with worker_pool(self, pool, device) as workers:
                yield from workers.encode_stream(texts, chunk=chunk, show_progress=show_progress, **options)
            return
        for block in self.engine_for(task).chunks(
            texts,
            prompt=prompt,
            chunk_size=TEXTS_PER_CHUNK if chunk is None else chunk,
            show_progress=show_progress,
            token_budget=token_budget,
            task=task,
            settings={"max_active_dims": limit},
        ):
            yield self._weights(block, limit)

    def decode(self, embeddings: Any, top_k: int | None = None) -> list[Any]:
        """Return the terms of each row with their weights, heaviest first and equal ones in vocabulary order.

        Parameters
        ----------
        embeddings
            Term weights [rows, vocabulary], from `encode` or `intersection`, or a tensor or an array of them.
        top_k
            Maximum terms per row; all by default.

        Returns
        -------
        list
            For each row a list of (term, weight); for a tensor or an array of one dimension only its list.

        Raises
        ------
        InputError
            If `embeddings` are not as wide as the vocabulary, or `top_k` is below 1.
        """
        weights = check_weights(embeddings, self.dimension)
        top_k = None if top_k is None else whole_number(top_k, "top_k")
        rows = []
        for low, high in pairwise(weights.indptr):
            columns, values = weights.indices[low:high], weights.data[low:high]
            order = np.lexsort((columns, -values))[:top_k]
            terms = (self.vocabulary[column] for column in columns[order])
            rows.append(list(zip(terms, values[order].tolist(), strict=True)))
        return rows[0] if getattr(embeddings, "ndim", 2) == 1 else rows

    @staticmethod
    def intersection(embeddings_1: Any, embeddings_2: Any) -> csr_matrix:
        """Return the products of the weights of the terms that a text shares with others.

        `decode` of it names the terms that a query and a document have in common, the heaviest first.

        Parameters
        ----------
        embeddings_1
            Term weights of one text.
        embeddings_2
            Term weights of any number of texts, [rows, vocabulary].

        Returns
        -------
        scipy.sparse.csr_matrix, float32 [rows of embeddings_2, vocabulary]
            Products above 0 only.

        Raises
        ------
        InputError
            If `embeddings_1` has several rows, or the widths differ.
        """
        return shared_weights(embeddings_1, embeddings_2)

    def _weights(self, chunk: Chunk, limit: int | None) -> csr_matrix:
        def finish(rows: NDArray[np.int64], features: "Features") -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
            output = _keep_largest(features["sentence_embedding"], limit)
            active = output.nonzero(as_tuple=True)
            per_row = np.bincount(active[0].cpu().numpy(), minlength=len(rows))
            return per_row, active[1].int().cpu().numpy(), output[active].cpu().numpy()

        order, counts, columns, weights = [], [], [], []
        for rows, (per_row, terms, found) in chunk.run(finish):
            order.append(rows)
            counts.append(per_row)
            columns.append(terms)
            weights.append(found)
            check_finite(weights[-1], self.checkpoint.name)
        bounds = np.concatenate(([0], np.cumsum(np.concatenate(counts))))
        batched = csr_matrix(
            (np.concatenate(weights), np.concatenate(columns), bounds), shape=(len(chunk), self.dimension)
        )
        return batched[chunk.places(order)]


def _keep_largest(weights: "Tensor", limit: int | None) -> "Tensor":
    """Set all but the `limit` largest weights of each row to 0."""
    import torch

    if limit is None or limit >= weights.shape[1]:
        return weights
    values, columns = weights.topk(limit, dim=1)
    return torch.zeros_like(weights).scatter_(1, columns, values)
