"""The tokens of a text whose vectors count in late interaction, with their places in the text."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder, Task


class ScoredToken(NamedTuple):
    """A token of a text.

    Parameters
    ----------
    text
        Its part of the text, or its name if it is not in the text: a special token, a part of the prompt, or a mask
        token that expands a query.
    span
        Characters of the text from `start` to `end`; None if it is not in the text.
    """

    text: str
    span: tuple[int, int] | None


def scored_tokens(
    encoder: "Encoder", text: str, task: "Task | None", *, prompt: str | None = None
) -> list[ScoredToken] | None:
    """Return a text's tokens in the order of its vectors; None for an encoder whose vectors are not those of tokens.

    Vectors are not those of tokens after token pooling, and in models that read chats. An object of one's own does not
    tell its tokens.

    Parameters
    ----------
    encoder
        A `MultiVectorEncoder`, or the `DenseEncoder` of token vectors.
    prompt
        Prompt to use instead of the task's.
    """
    import torch

    from retrieve.encoders.modules.multi_vector_mask import MultiVectorMask
    from retrieve.encoders.modules.router import modules_for_task
    from retrieve.encoders.modules.token_pooling import HierarchicalTokenPooling
    from retrieve.encoders.modules.transformer import Transformer

    if not hasattr(encoder, "modules"):
        return None
    modules = modules_for_task(encoder.modules, task)
    first: Any = modules[0]
    if not isinstance(first, Transformer) or first.chat is not None or not first.tokenizer.is_fast:
        return None
    if any(isinstance(module, HierarchicalTokenPooling) and (task or "document") in module.tasks for module in modules):
        return None
    resolved = prompt if prompt is not None else encoder.resolve_prompt(None, task)  # type: ignore[attr-defined]
    tokens = first.tokenize([text], resolved, task)
    features: dict[str, Any] = {
        name: torch.from_numpy(array) for name, array in tokens.padded(np.arange(1)).items()
    } | {"task": task}
    for module in modules:
        if isinstance(module, MultiVectorMask):
            features = module(features)
    spans = _spans(first, resolved + text, len(tokens.ids))
    names = first.tokenizer.convert_ids_to_tokens(tokens.ids.tolist())
    found = []
    for place in np.flatnonzero(features["attention_mask"][0].bool().numpy()).tolist():
        start, end = (at - len(resolved) for at in spans[place])
        inside = 0 <= start < end
        found.append(ScoredToken(text[start:end] if inside else names[place], (start, end) if inside else None))
    return found


def _spans(reader: Any, text: str, count: int) -> list[tuple[int, int]]:
    """Return the characters of a text that each of its first `count` tokens stands for; (0, 0) for none."""
    with reader._tokenizing:  # The tokenizer stores its truncation setting, which another thread may change.
        encoded = reader.tokenizer(text, return_offsets_mapping=True, truncation=False, verbose=False)
    spans = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
    closing = 0  # A truncated text ends in the special tokens of the whole one.
    while closing < len(spans) and spans[-1 - closing][0] == spans[-1 - closing][1]:
        closing += 1
    if len(spans) > count:
        return [*spans[: max(0, count - closing)], *[(0, 0)] * closing][:count]
    return spans + [(0, 0)] * (count - len(spans))
