"""Fine-tune a dense encoder on a corpus alone, without queries, and check on held-out documents whether it helped."""

import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.corpora.chunking import sentence_starts
from indexing.disk import write_json
from indexing.documents import Document
from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.exact_search.nearest import best
from pipelines.measures.significance import compare_paired
from pipelines.training.recipes.initial_model import load_initial_model
from pipelines.training.recipes.processes import main_first
from pipelines.training.recipes.run import INITIAL_MODEL, TrainReport, claim_folder
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.recipes.train import train_on
from pipelines.training.unlabelled import damaged

logger = logging.getLogger(__name__)

Objective: TypeAlias = Literal["pairs", "tsdae"]
REPORT_FILE = "corpus_only.json"
MAX_HELD_OUT = 500
MIN_PAIRS = 100
"""Titled documents from which their titles are learned; with fewer, TSDAE reconstructs the texts."""
MIN_HELD_OUT = 20
MIN_CHARS = 40
"""Characters of a sentence that stands for a question, and of a text that answers it."""
CUTOFF = 10


class Pair(NamedTuple):
    """A title or heading, and the text below it."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Reciprocal ranks of held-out documents before and after training, and the gain with its 95% interval."""

    name: str
    queries: int
    before: float
    after: float
    gain: tuple[float, float, float]

    def __str__(self) -> str:
        values = f"MRR@{CUTOFF} {self.before:.4f} before, {self.after:.4f} after"
        return f"{self.name}: {values} ({self.gain[0]:+.4f}, 95% interval {self.gain[1]:+.4f} to {self.gain[2]:+.4f})"


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """Report of a training run on a corpus alone."""

    trained: TrainReport
    objective: Objective
    rows: int
    probes: Sequence[Probe]

    @property
    def is_gain(self) -> bool:
        """True if one probe improves beyond chance and none gets worse beyond chance."""
        gains = [probe.gain for probe in self.probes]
        return any(low > 0 for _, low, _ in gains) and not any(high < 0 for _, _, high in gains)

    @property
    def verdict(self) -> str:
        """One sentence on whether to use the trained model."""
        if self.is_gain:
            return "a gain: use the trained model"
        if any(high < 0 for _, _, high in (probe.gain for probe in self.probes)):
            return "no gain: searches of one kind became worse; keep the model that you had"
        return "no gain beyond chance: keep the model that you had"

    def __str__(self) -> str:
        lines = [str(self.trained), f"  {self.objective} of {counted(self.rows, 'row')}, on held-out documents:"]
        return "\n".join([*lines, *(f"    {probe}" for probe in self.probes), f"  {self.verdict}"])


def train_on_corpus(
    settings: TrainSettings, documents: Iterable[Document], *, objective: Objective | None = None
) -> CorpusReport:
    """Fine-tune a dense encoder on documents, and check it on documents that were held out.

    Parameters
    ----------
    objective
        ``"pairs"`` learns to find a text by its title or heading; ``"tsdae"`` reconstructs damaged texts. Default:
        pairs, if there are at least `MIN_PAIRS`.

    Raises
    ------
    InputError
        With fewer than `MIN_HELD_OUT` documents to hold out, a tenth of them.
    """
    pairs = corpus_pairs(documents)
    titled = [pair for pair in pairs if pair.title]
    chosen: Objective = objective or ("pairs" if len(titled) >= MIN_PAIRS else "tsdae")
    known = titled if chosen == "pairs" else pairs
    held = min(MAX_HELD_OUT, len(known) // 10)
    if held < MIN_HELD_OUT:
        raise InputError(
            f"{counted(len(known), 'document')} can be learned from, too few to hold out {MIN_HELD_OUT} (a tenth): "
            "give more documents, or pairs of queries and texts (--data)"
        )
    random.Random(settings.seed).shuffle(known)
    test, train = known[:held], known[held:]
    rows = _rows(train, chosen, settings.seed)
    output = Path(settings.output)
    with main_first():
        claim_folder(output, settings, "dense", objective=chosen)
        encoder = load_initial_model("dense", settings, rows, output / INITIAL_MODEL)
    texts = [pair.text for pair in pairs]
    place = {text: at for at, text in enumerate(texts)}
    probes = _probes(test, settings.seed)
    before = _ranks(encoder, probes, texts, place)
    if settings.loss is None and chosen == "tsdae":
        settings = replace(settings, loss="DenoisingAutoEncoderLoss", batch_size=settings.batch_size or 8)
    trained, _ = train_on("dense", encoder, settings, rows)
    after = _ranks(encoder, probes, texts, place)
    found = []
    for name, asked in probes.items():
        result = compare_paired(after[name], before[name], seed=settings.seed)
        means = float(before[name].mean()), float(after[name].mean())
        found.append(Probe(name, len(asked), *means, (result.difference, *result.interval)))
    report = CorpusReport(trained, chosen, len(rows), found)
    write_json(
        output / REPORT_FILE,
        {
            "objective": chosen,
            "rows": len(rows),
            "probes": [asdict(probe) for probe in found],
            "is_gain": report.is_gain,
            "verdict": report.verdict,
        },
    )
    return report


def corpus_pairs(documents: Iterable[Document]) -> list[Pair]:
    """Return the texts of documents with their titles, or the headings above a chunk; equal texts once.

    A title that a text repeats at its start is cut off there: finding it would teach nothing.
    """
    found: dict[str, Pair] = {}
    for document in documents:
        heading = (document.metadata or {}).get("heading")
        title = " ".join(part for part in (document.title, heading) if isinstance(part, str) and part).strip()
        text = document.text.strip()
        if title and text.lower().startswith(title.lower()):
            text = text[len(title) :].lstrip(" .:-\n")
        if len(text) >= MIN_CHARS:
            found.setdefault(text, Pair(title, text))
    return list(found.values())


def _rows(pairs: Sequence[Pair], objective: Objective, seed: int) -> Any:
    from datasets import Dataset

    if objective == "tsdae":
        return Dataset.from_list(list(damaged((pair.text for pair in pairs), seed=seed)))
    return Dataset.from_list([{"query": pair.title, "positive": pair.text} for pair in pairs])


def _probes(pairs: Sequence[Pair], seed: int) -> dict[str, list[tuple[str, str, str]]]:
    """Return kinds of searches of held-out documents: (query, document, text to find in its place).

    One kind searches by titles. The other searches by a sentence of a text the rest of it, so that learning titles at
    the cost of other questions shows.
    """
    draw = random.Random(seed)
    titles = [(pair.title, pair.text, pair.text) for pair in pairs if pair.title]
    sentences = []
    for pair in pairs:
        starts = [*sentence_starts(pair.text), len(pair.text)]
        spans = [(low, high) for low, high in pairwise(starts) if high - low >= MIN_CHARS]
        if len(spans) < 2:
            continue
        low, high = draw.choice(spans)
        rest = (pair.text[:low] + pair.text[high:]).strip()
        sentences.append((pair.text[low:high].strip(), pair.text, rest))
    kinds = {"titles": titles, "sentences": sentences}
    return {name: asked for name, asked in kinds.items() if len(asked) >= MIN_HELD_OUT}


def _ranks(
    encoder: Any, probes: dict[str, list[tuple[str, str, str]]], texts: Sequence[str], place: dict[str, int]
) -> dict[str, NDArray[np.float64]]:
    """Return the reciprocal ranks of the documents, 0 beyond `CUTOFF`, of each kind of search."""
    vectors = encoder.encode_document(texts)
    found = {}
    for name, asked in probes.items():
        queries = encoder.encode_query([query for query, _, _ in asked])
        searched = vectors.copy()
        own = np.array([place[text] for _, text, _ in asked])
        searched[own] = encoder.encode_document([rest for _, _, rest in asked])
        order, _ = best(encoder.similarity_fn_name, queries, searched, np.arange(len(texts)), min(CUTOFF, len(texts)))
        hits = order == own[:, None]
        found[name] = np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0.0)
    return found
