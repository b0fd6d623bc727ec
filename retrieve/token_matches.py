"""Explanations of late interaction: which token of a document each token of a query met."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from retrieve.encoders.scored_tokens import ScoredToken


class TokenMatch(NamedTuple):
    """A token of a query, and the document's token that is most similar to it.

    Parameters
    ----------
    token, matched
        The query's token and the document's; "" where vectors are not those of single tokens.
    part
        Its part of the score: the parts of all tokens of the query sum to the score.
    span
        Characters of the document's text, title included, that `matched` stands for; None for a special token.
    """

    token: str
    matched: str
    part: float
    span: tuple[int, int] | None


def matches(
    query: "NDArray[np.float32]",
    document: "NDArray[np.float32]",
    asked: "Sequence[ScoredToken] | None",
    found: "Sequence[ScoredToken] | None",
    *,
    mean: bool,
) -> list[TokenMatch]:
    """Return the best match of each vector of a query, [tokens, dim], among a document's; none without vectors.

    Parameters
    ----------
    asked, found
        The tokens of the vectors; not used if there are not as many of them.
    mean
        Divide by the number of the query's vectors, as the mean of MaxSim does.
    """
    if not len(query) or not len(document):
        return []
    similarities = query @ document.T
    best = similarities.argmax(axis=1).tolist()
    parts = similarities.max(axis=1) / (len(query) if mean else 1)
    names = [token.text for token in asked] if asked is not None and len(asked) == len(query) else [""] * len(query)
    known = found if found is not None and len(found) == len(document) else None
    return [
        TokenMatch(name, known[place].text if known else "", float(part), known[place].span if known else None)
        for name, place, part in zip(names, best, parts, strict=True)
    ]


def token_names(encoder: Any, text: str, task: Any) -> "list[ScoredToken] | None":
    """Return the tokens of the vectors of a text, as `scored_tokens`, also for `DenseTokens` and a dense encoder."""
    from retrieve.encoders.dense_tokens import DenseTokens
    from retrieve.encoders.scored_tokens import scored_tokens

    if isinstance(encoder, DenseTokens):
        return scored_tokens(encoder.encoder, text, None, prompt="")
    return scored_tokens(encoder, text, None if getattr(encoder, "kind", None) == "dense" else task)
