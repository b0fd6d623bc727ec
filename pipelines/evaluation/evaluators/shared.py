"""Shared encoding for evaluators of the same texts, such as those of a Matryoshka model's dimensions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from pipelines.evaluation.evaluators.vectors import Encoding, is_sparse
from retrieve.encoders.base import Task
from retrieve.encoders.similarity import Vectors


@dataclass(frozen=True, slots=True)
class _Encoded:
    model: Any
    texts: Sequence[str]
    settings: tuple[Any, ...]
    vectors: Vectors


_last: ContextVar[dict[Task, _Encoded] | None] = ContextVar("last", default=None)
"""Last encoding of each task; None outside `shared_encodings`."""


@contextmanager
def shared_encodings() -> Iterator[None]:
    """Share encodings among the evaluators that are called inside; the model must not change meanwhile."""
    if _last.get() is not None:
        yield
        return
    token = _last.set({})
    try:
        yield
    finally:
        _last.reset(token)


def encoded(encoding: Encoding, model: Any, texts: Sequence[str], task: Task, **prompts: str | None) -> Vectors:
    """Encode texts, or reuse the vectors of the previous evaluator, truncated to this one's dimensions.

    Only the last texts of each task are kept, so memory is bounded by the largest corpus.
    """
    last = _last.get()
    if last is None:
        return encoding(model, texts, task, **prompts)
    settings = (*sorted(prompts.items()), encoding.max_active_dims if is_sparse(model) else None)
    found = last.get(task)
    if found is None or found.model is not model or found.settings != settings or found.texts != texts:
        last.pop(task, None)
        vectors = replace(encoding, truncate_dim=None)(model, texts, task, **prompts)
        found = last[task] = _Encoded(model, texts, settings, vectors)
    width = None if is_sparse(model) else encoding.truncate_dim
    if width is None or width == found.vectors.shape[1]:
        return found.vectors
    # A model truncated below the width of an evaluator has to encode again.
    return encoding(model, texts, task, **prompts) if width > found.vectors.shape[1] else found.vectors[:, :width]
