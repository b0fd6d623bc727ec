"""The whole way from a collection and right answers to a reranker: split, mine, train, compare, save."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.disk import write_json
from indexing.errors import InputError
from pipelines.mining.from_collection import (
    MiningSettings,
    Positive,
    mine,
    positives_of,
    positives_of_pairs,
    read_mined,
)
from pipelines.training.recipes.comparison import ALONE, Comparison, compare
from pipelines.training.recipes.initial_model import load_initial_model
from pipelines.training.recipes.rows import without_ids
from pipelines.training.recipes.run import INITIAL_MODEL, TrainReport, claim_folder, load_report
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.recipes.splits import Split, find_documents, split_queries
from pipelines.training.recipes.train import train_on

if TYPE_CHECKING:
    from indexing.hits import Hits
    from pipelines.mining.formatting import Format
    from pipelines.search import SearchPipeline

SPLIT_FILE = "split.json"
COMPARISON_FILE = "comparison.json"
NEGATIVES = "negatives"


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """Where negatives come from, and what is compared.

    Parameters
    ----------
    collection
        What ``retrieve index`` built.
    quotas
        {leg: how many negatives of it}; two of each leg that there is.
    held_out, limit
        See `split_queries`.
    candidates
        How many hits of the first stage are reranked when comparing.
    """

    collection: str
    quotas: Mapping[str, int] | None = None
    held_out: int | None = None
    limit: int | None = None
    candidates: int = 50


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What became of each step."""

    split: Split
    mined_rows: int
    trained: TrainReport
    comparison: Comparison

    def __str__(self) -> str:
        sizes = f"{len(self.split.train):,} queries to train on, {len(self.split.tuning):,} to tune on"
        return f"{self.trained}\n  {sizes}, {self.mined_rows:,} rows mined\n{self.comparison}"


def train_for_collection(
    settings: TrainSettings,
    whole: CollectionSettings,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    queries: Mapping[str, str] | None = None,
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    show_progress: bool = True,
) -> CollectionReport:
    """Make a reranker for a collection, and compare it with the first stage on queries that it has not seen.

    Each step leaves what it made in the output folder; stopped and started again, what is there is not made anew.

    Parameters
    ----------
    settings
        Of the training; `data` and `eval_data` are not read.
    whole
        Of what stands around it.
    pairs
        (query, right text). A text that is a document of the collection is known as that document.
    queries, qrels
        Instead of pairs: by ids.

    Raises
    ------
    InputError, ModelError, StorageError
        Before the first step: too few queries, a model or collection that cannot be read, a folder with another run.
    """
    from pipelines.search import SearchPipeline

    output = Path(settings.output)
    with ExitStack() as opened:
        first_stage = opened.enter_context(SearchPipeline.open(whole.collection, reranker=None))
        documents = first_stage.collection.documents
        if pairs is not None:
            texts, positives = positives_of_pairs(pairs)
            positives = find_documents(positives, documents)
        elif queries is not None and qrels is not None:
            texts, positives = dict(queries), positives_of(qrels, documents)
        else:
            raise InputError("give pairs, or queries and qrels")
        claim_folder(
            output, settings, "reranker for a collection", whole=asdict(whole), right=_fingerprint(texts, positives)
        )
        usable = [query_id for query_id in texts if positives.get(query_id)]
        known = [query_id for query_id in usable if all(right.doc_id is not None for right in positives[query_id])]
        split = split_queries(usable, known, held_out=whole.held_out, limit=whole.limit, seed=settings.seed)
        write_json(output / SPLIT_FILE, asdict(split))
        trained = load_report(output)
        if trained is not None and (output / COMPARISON_FILE).is_file():
            found = json.loads((output / COMPARISON_FILE).read_text("utf-8"))
            return CollectionReport(split, trained.rows, trained, Comparison(**found))

        legs = list(first_stage.collection.manifest.legs)
        quotas = dict.fromkeys(legs, 2) if whole.quotas is None else dict(whole.quotas)
        unknown = [name for name in quotas if name not in legs]
        if unknown:
            raise InputError(f"{whole.collection} has no leg {unknown[0]!r}: it has {', '.join(legs)}")
        sources = {
            name: opened.enter_context(SearchPipeline.open(whole.collection, legs=[name], reranker=None)).retriever
            for name in quotas
        }
        mined = mine(
            {query_id: texts[query_id] for query_id in split.train},
            positives,
            documents,
            sources,
            MiningSettings(quotas, seed=settings.seed, output_format=row_format(settings.loss)),
            output / NEGATIVES,
            show_progress=show_progress,
        )
        rows = read_mined(output / NEGATIVES)
        rows = rows.select_columns(without_ids(rows.column_names))
        encoder = load_initial_model("reranker", settings, rows, output / INITIAL_MODEL)
        trained, card = train_on("reranker", encoder, settings, rows)

        def judged(some: Sequence[str]) -> "tuple[Hits, Sequence[str], dict[str, dict[str, int]]]":
            right = {query_id: {str(one.doc_id): 1 for one in positives[query_id]} for query_id in some}
            return _found(first_stage, texts, some, whole.candidates, show_progress=show_progress), some, right

        comparison = compare(
            judged(split.held_out),
            judged(split.tuning),
            texts,
            documents,
            encoder,
            before=_before(settings),
            seed=settings.seed,
            show_progress=show_progress,
        )
    write_json(output / COMPARISON_FILE, asdict(comparison))
    _tell(card, comparison, encoder, trained.folder, whole)
    return CollectionReport(split, mined.rows, trained, comparison)


def row_format(loss: str | None) -> "Format":
    """Say in what shape a loss reads rows; by default it is lists."""
    from pipelines.training.losses import cross
    from pipelines.training.losses.cross.base import PointwiseLoss, TupleLoss
    from pipelines.training.recipes.losses import class_name

    if loss is None:
        return "labeled-list"
    chosen = getattr(cross, class_name("reranker", loss))
    if issubclass(chosen, PointwiseLoss):
        return "labeled-pair"
    return "n-tuple" if issubclass(chosen, TupleLoss) else "labeled-list"


def _found(
    first_stage: "SearchPipeline", texts: Mapping[str, str], some: Sequence[str], k: int, *, show_progress: bool
) -> "Hits":
    return first_stage.retrieve([texts[query_id] for query_id in some], k, show_progress=show_progress)


def _before(settings: TrainSettings) -> Any:
    """Load the model as it was, where it could rerank already."""
    from pipelines.training.recipes.classification_head import is_cross_encoder
    from retrieve.encoders import CrossEncoder

    return CrossEncoder(settings.model, max_length=settings.max_length) if is_cross_encoder(settings.model) else None


def _tell(card: Any, comparison: Comparison, encoder: Any, folder: Path, whole: CollectionSettings) -> None:
    from pipelines.model_card import EvaluationTable, write_card

    difference, low, high = comparison.gains[ALONE]
    note = (
        f"{comparison.queries} queries that were not trained on; the first {whole.candidates} hits of the first stage "
        f"were reranked. After less first stage, nDCG@10: {difference:+.4f}, 95% bootstrap interval {low:+.4f} to "
        f"{high:+.4f}. With the first stage: its score has the weight {comparison.weight:g}, tuned on other queries; "
        f"{comparison.verdict}."
    )
    card.tables = [
        EvaluationTable("Reranking", comparison.figures, Path(whole.collection).name, note),
    ]
    write_card(folder, card, encoder)


def _fingerprint(texts: Mapping[str, str], positives: Mapping[str, Sequence[Positive]]) -> str:
    told = blake2b(digest_size=16)
    for query_id, text in texts.items():
        told.update(f"{query_id}\0{text}\0".encode())
        for right in positives.get(query_id, ()):
            told.update(f"{right.doc_id}\0{right.text}\0".encode())
    return told.hexdigest()
