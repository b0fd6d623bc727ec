"""SparseEncoder: from texts to weighted terms of the model's own vocabulary."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

import numpy as np
from scipy.sparse import csr_matrix, vstack

from indexing.errors import InputError
from retrieve.encoders.base import LoadArguments, PromptedEncoder, Task
from retrieve.encoders.checkpoint import Step
from retrieve.encoders.engine import TEXTS_PER_CHUNK, Chunk
from retrieve.encoders.workers import EncoderWorkers, worker_pool

if TYPE_CHECKING:
    from torch import Tensor


class SparseOptions(TypedDict, total=False):
    """The keyword arguments that all of `SparseEncoder`'s encode methods take; `encode` says what they mean."""

    prompt: str | None
    prompt_name: str | None
    max_active_dims: int | None
    show_progress: bool
    token_budget: int | None
    pool: EncoderWorkers[Any] | None
    device: Sequence[str] | None


class SparseEncoder(PromptedEncoder):
    """Encodes texts as sparse rows of term weights, as SPLADE does.

    Reads sentence-transformers' sparse checkpoints; a plain masked-language-model checkpoint is pooled as SPLADE-max.

    Parameters
    ----------
    model
        See `Encoder` and `PromptedEncoder`, also for the arguments that are not named here.
    max_active_dims
        Keep only so many terms of each text, the heaviest; by default what the checkpoint says, else all. In the place
        of its own number `k` for a sparse autoencoder, which may also be smaller.
    """

    kind = "sparse"
    organisation = "sparse-encoder"
    saved_as = "SparseEncoder"
    default_steps = (Step("MLMTransformer", config={}), Step("SpladePooling", config={}))
    # A batch of short texts is a dense [texts, vocabulary] array before it is sparse: 256 x 30,522 floats are 31 MB.
    max_rows = 256
    # And one of long texts holds 12 KB a token of BERT-base's, twice, in float32: 16,384 keep it under 1 GB.
    max_tokens = 16_384

    def __init__(
        self, model: str | Path, *, max_active_dims: int | None = None, **arguments: Unpack[LoadArguments]
    ) -> None:
        super().__init__(model, **arguments)
        if max_active_dims is None:
            max_active_dims = self.checkpoint.settings.get("max_active_dims")
        _check_active(max_active_dims)
        self.max_active_dims = max_active_dims

    @property
    def similarity(self) -> str:
        """The similarity that the weights are meant for: "dot" unless the checkpoint says otherwise."""
        return self.checkpoint.settings.get("similarity_fn_name") or "dot"

    @property
    def identity(self) -> dict[str, Any]:
        """As every prompted encoder's, and how many terms it keeps."""
        return super().identity | {"similarity": self.similarity, "max_active_dims": self.max_active_dims}

    @property
    def settings(self) -> dict[str, Any]:
        """As every prompted encoder's, its similarity, and how many terms it keeps."""
        kept = {} if self.max_active_dims is None else {"max_active_dims": self.max_active_dims}
        return super().settings | {"similarity_fn_name": self.similarity} | kept

    @cached_property
    def vocabulary(self) -> list[str]:
        """The term of each column, as the tokenizer writes it; latents are numbered."""
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
        pool: EncoderWorkers[Any] | None = None,
        device: Sequence[str] | None = None,
    ) -> csr_matrix:
        """Encode texts.

        Parameters
        ----------
        texts
            One text, or any number.
        task
            Whether they are queries or documents, which decides the prompt.
        prompt, prompt_name
            Put before each text instead: this, or the one of the encoder's `prompts` that has the name.
        max_active_dims
            Keep only so many terms of each, instead of as many as the encoder was made with.
        show_progress
            A progress bar on stderr, counted in texts.
        token_budget
            The most tokens in a batch, with padding where that is computed, instead of what is best for the device; at
            most 16,384 in all batches under way on a processor, which keep memory below 1 GB beside the model's.
        pool
            Other processes to encode in, of `start_multi_process_pool`.
        device
            A list of devices instead, of one process each, which end with the call.

        Returns
        -------
        scipy.sparse.csr_matrix, float32 [texts, vocabulary]
            In the order of `texts`, columns ascending in each row, no zeros stored; of one text a single row.

        Raises
        ------
        InputError
            Naming the position of something that is not a text.
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
        """Encode queries: `encode` with their prompt."""
        return self.encode(texts, task="query", **options)

    def encode_document(self, texts: str | Iterable[str], **options: Unpack[SparseOptions]) -> csr_matrix:
        """Encode documents: `encode` with their prompt."""
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
        pool: EncoderWorkers[Any] | None = None,
        device: Sequence[str] | None = None,
    ) -> Iterator[csr_matrix]:
        """Encode texts without end: up to `chunk` rows at a time, in order; options as `encode`'s."""
        _check_active(max_active_dims)
        keep = max_active_dims or self.max_active_dims
        prompt = self.resolve_prompt(prompt, task, prompt_name)
        if pool is not None or device is not None:
            options = {"task": task, "prompt": prompt, "max_active_dims": keep, "token_budget": token_budget}
            with worker_pool(self, pool, device) as workers:
                yield from workers.encode_stream(texts, chunk=chunk, show_progress=show_progress, **options)
            return
        for some in self.engine_for(task).chunks(
            texts,
            prompt=prompt,
            chunk_size=TEXTS_PER_CHUNK if chunk is None else chunk,
            show_progress=show_progress,
            token_budget=token_budget,
            settings={"max_active_dims": keep},
        ):
            yield self._weights(some, keep)

    def decode(self, weights: csr_matrix, top_k: int | None = None) -> list[list[tuple[str, float]]]:
        """Name the terms of each row, with their weights: the heaviest first, equal ones in the vocabulary's order.

        Parameters
        ----------
        weights
            [rows, vocabulary], as `encode` gives them.
        top_k
            At most so many terms of a row; all by default.

        Raises
        ------
        InputError
            When `weights` are not as wide as the vocabulary, or `top_k` is less than 1.
        """
        if weights.shape[1] != self.dimension:
            raise InputError(f"the vocabulary has {self.dimension} terms, and the weights {weights.shape[1]} columns")
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k must be at least 1, not {top_k}")
        rows = []
        for low, high in pairwise(weights.indptr):
            columns, values = weights.indices[low:high], weights.data[low:high]
            order = np.lexsort((columns, -values))[:top_k]
            terms = (self.vocabulary[column] for column in columns[order])
            rows.append(list(zip(terms, values[order].tolist(), strict=True)))
        return rows

    def _weights(self, chunk: Chunk, keep: int | None) -> csr_matrix:
        order, counts, columns, weights = [], [], [], []
        for rows, features in chunk.run():
            output = _keep_largest(features["sentence_embedding"], keep)
            active = output.nonzero(as_tuple=True)
            order.append(rows)
            counts.append(np.bincount(active[0].cpu().numpy(), minlength=len(rows)))
            columns.append(active[1].int().cpu().numpy())
            weights.append(output[active].cpu().numpy())
        bounds = np.concatenate(([0], np.cumsum(np.concatenate(counts))))
        batched = csr_matrix(
            (np.concatenate(weights), np.concatenate(columns), bounds), shape=(len(chunk), self.dimension)
        )
        place = np.empty(len(chunk), dtype=np.int64)
        place[np.concatenate(order)] = np.arange(len(chunk))
        return batched[place[chunk.inverse]]


class Sparsity(NamedTuple):
    """How few terms rows have.

    Parameters
    ----------
    active_dims
        Mean number of terms of a row whose weight is not 0.
    sparsity_ratio
        Mean share of the vocabulary whose weight is 0.
    """

    active_dims: float
    sparsity_ratio: float


def sparsity(weights: csr_matrix) -> Sparsity:
    """Count how few terms rows have; of no rows 0 and 1."""
    rows, columns = weights.shape
    active = weights.count_nonzero() / rows if rows else 0.0
    return Sparsity(active, 1 - active / columns if columns else 1.0)


def _keep_largest(weights: "Tensor", keep: int | None) -> "Tensor":
    """Keep the `keep` largest of each row and set the others to 0."""
    import torch

    if keep is None or keep >= weights.shape[1]:
        return weights
    values, columns = weights.topk(keep, dim=1)
    return torch.zeros_like(weights).scatter_(1, columns, values)


def _check_active(keep: int | None) -> None:
    if keep is not None and keep < 1:
        raise InputError(f"max_active_dims must be at least 1, not {keep}")
