"""Training rows of texts without labels: damaged copies for TSDAE, pairs for contrastive tension."""

import random
from collections.abc import Iterable, Iterator

from indexing.errors import InputError
from indexing.inputs import whole_number


def damaged(texts: Iterable[str], *, ratio: float = 0.6, seed: int = 0) -> Iterator[dict[str, str]]:
    """Yield rows of `DenoisingAutoEncoderLoss`: ``damaged``, the text without some of its words, and ``text``.

    Parameters
    ----------
    ratio
        Chance of each word to be deleted; one word always stays.
    """
    if not 0 <= ratio < 1:
        raise InputError(f"ratio must be from 0 to below 1, not {ratio}")
    draw = random.Random(seed)
    for text in texts:
        words = text.split()
        kept = [word for word in words if draw.random() >= ratio]
        yield {"damaged": " ".join(kept or words[:1]), "text": text}


def tension_pairs(texts: Iterable[str], *, pos_neg_ratio: int = 8, seed: int = 0) -> Iterator[dict[str, str | int]]:
    """Yield rows of `ContrastiveTensionLoss`: ``first``, ``second`` and ``label``, 1 where both are one text.

    Parameters
    ----------
    pos_neg_ratio
        One of so many rows is a text with itself; the others are two different texts.
    """
    pos_neg_ratio = whole_number(pos_neg_ratio, "pos_neg_ratio")
    shuffled = list(dict.fromkeys(texts))
    random.Random(seed).shuffle(shuffled)
    rest = iter(shuffled)
    for row, first in enumerate(rest):
        same = row % pos_neg_ratio == 0
        second = first if same else next(rest, None)
        if second is not None:
            yield {"first": first, "second": second, "label": int(same)}
