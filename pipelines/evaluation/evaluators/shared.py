"""One encoding for several evaluators that read the same texts, such as those of a Matryoshka model's dimensions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from pipelines.evaluation.evaluators.vectors import Encoding, Vectors, is_sparse
from retrieve.encoders.base import Task


@dataclass(frozen=True, slots=True)
class _Encoded:
    model: Any
    texts: Sequence[str]
    settings: tuple[Any, ...]
    vectors: Vectors


_last: ContextVar[dict[Task, _Encoded] | None] = ContextVar("last", default=None)
"""What was encoded last as queries and as documents; None where nobody shares."""


@contextmanager
def shared_encodings() -> Iterator[None]:
    """Let the evaluators that are called inside share what they encode; the model must stay as it is."""
    if _last.get() is not None:
        yield
        return
    token = _last.set({})
    try:
        yield
    finally:
        _last.reset(token)


def encoded(encoding: Encoding, model: Any, texts: Sequence[str], task: Task, **prompts: str | None) -> Vectors:
    """Encode texts, or take the vectors of the evaluator before, in as many dimensions as are asked for.

    Of each task the last texts are kept, so that what is held is bounded by the largest corpus.
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
    # A model that was made narrower than an evaluator asks for encodes anew.
    return encoding(model, texts, task, **prompts) if width > found.vectors.shape[1] else found.vectors[:, :width]
