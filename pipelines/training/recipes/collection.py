"""Train a reranker for a collection from queries with relevant texts: split, mine, train, compare, save."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.disk import write_json
from indexing.errors import InputError, StorageError
from indexing.json_text import read_json_object
from indexing.plurals import counted
from pipelines.mining.chunk_positives import judged_positives
from pipelines.mining.folder import read_mined, state_of
from pipelines.mining.from_collection import MiningSettings, leg_quotas, mine
from pipelines.mining.relevant_documents import Positive, find_documents, positives_of_pairs
from pipelines.search.config import CANDIDATES
from pipelines.search.judged_parents import Parents
from pipelines.training.recipes.comparison import ALONE, INTERPOLATED, MEASURES, Comparison, compare
from pipelines.training.recipes.elsewhere import Check, check_elsewhere, load_checks
from pipelines.training.recipes.initial_model import load_initial_model
from pipelines.training.recipes.rows import without_ids
from pipelines.training.recipes.run import INITIAL_MODEL, TrainReport, claim_folder, load_report
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.recipes.splits import Split, like_queries, nearness, split_queries
from pipelines.training.recipes.train import train_on
from retrieve.reranking.carried import ELSEWHERE, CarriedWeight, sample_documents

if TYPE_CHECKING:
    from indexing.hits import Hits
    from pipelines.mining.formatting import Format

SPLIT_FILE = "split.json"
COMPARISON_FILE = "comparison.json"
NEGATIVES = "negatives"


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """Settings of mining and comparison.

    Parameters
    ----------
    collection
        Directory of a collection built by ``retrieve index``.
    quotas
        Number of negatives from each leg, by name; by default two of each.
    held_out, limit
        See `split_queries`.
    candidates
        Number of first-stage hits that are reranked for the comparison.
    checks
        Other judged collections on which the trained reranker is measured: see `load_checks`.
    """

    collection: str
    quotas: Mapping[str, int] | None = None
    held_out: int | None = None
    limit: int | None = None
    candidates: int = CANDIDATES
    checks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """Results of the steps."""

    split: Split
    mined_rows: int
    trained: TrainReport
    comparison: Comparison
    nearness: float = 0.0
    checks: Sequence[Check] = ()

    @property
    def scope(self) -> str:
        """One sentence on how near the held-out queries are to the training ones."""
        how = f"the median held-out query has a word overlap of {self.nearness:.2f} with the nearest training query"
        apart = "none is a near-duplicate of a training query or shares a relevant document with one"
        if not self.split.is_separated:
            apart = "some are near-duplicates of training queries or share relevant documents, so the gain may be less"
        return f"{how}; {apart}"

    def __str__(self) -> str:
        sizes = f"{counted(len(self.split.train), 'query')} to train on, {len(self.split.tuning):,} to tune on"
        if self.split.left_out:
            sizes += f", {len(self.split.left_out):,} left out as too like these"
        lines = [str(self.trained), f"  {sizes}, {counted(self.mined_rows, 'row')} mined", str(self.comparison)]
        lines += [f"  {self.scope}", "  the interval holds for this collection and queries like these"]
        if self.checks:
            lines += [f"  on other collections, {MEASURES[0]} with 95% intervals:", *map(str, self.checks)]
        return "\n".join(lines)


def train_for_collection(
    settings: TrainSettings,
    collection_settings: CollectionSettings,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    queries: Mapping[str, str] | None = None,
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    show_progress: bool = True,
) -> CollectionReport:
    """Train a reranker for a collection, and compare it with the first stage on held-out queries.

    Each step stores its result in the output folder; a restarted run reuses the results that are there.

    Parameters
    ----------
    settings
        Settings of the training; `data` and `eval_data` are not read.
    collection_settings
        Settings of mining and comparison.
    pairs
        (query, relevant text). A text that equals a document of the collection counts as that document.
    queries, qrels
        Judged queries, in place of pairs.

    Raises
    ------
    InputError, ModelError, StorageError
        Before the first step: for too few queries, a model or collection that cannot be read, or a folder that holds
        another run.
    """
    from pipelines.search import SearchPipeline
    from retrieve.encoders import CrossEncoder

    output = Path(settings.output)
    elsewhere = load_checks(collection_settings.checks)
    with SearchPipeline.open(collection_settings.collection, reranker=None) as first_stage:
        documents = first_stage.collection.documents
        if pairs is not None:
            texts, unknown = positives_of_pairs(pairs)
            positives = find_documents(unknown, documents)
        elif queries is not None and qrels is not None:
            legs = list(first_stage.collection.manifest.legs)
            texts, where = dict(queries), collection_settings.collection
            positives = dict(judged_positives(texts, qrels, documents, first_stage.leg(legs[0]), where))
        else:
            raise InputError("either pairs, or queries and qrels are required")
        parents = documents.parents(sorted({str(one.doc_id) for some in positives.values() for one in some}))
        whole = {
            query_id: [replace(one, doc_id=parents.get(str(one.doc_id), one.doc_id)) for one in some]
            for query_id, some in positives.items()
        }
        claim_folder(
            output,
            settings,
            "reranker for a collection",
            # Other collections to check do not change the model: they may be named later.
            whole={name: value for name, value in asdict(collection_settings).items() if name != "checks"},
            right=_fingerprint(texts, positives),
        )
        usable = [query_id for query_id in texts if positives.get(query_id)]
        known = [query_id for query_id in usable if all(right.doc_id is not None for right in positives[query_id])]
        split = split_queries(
            usable,
            known,
            held_out=collection_settings.held_out,
            limit=collection_settings.limit,
            seed=settings.seed,
            groups=like_queries({query_id: texts[query_id] for query_id in usable}, whole),
        )
        near = nearness(split, texts)
        write_json(output / SPLIT_FILE, asdict(split) | {"median_overlap_with_nearest_training_query": near})

        def judged(query_ids: Sequence[str]) -> "tuple[Hits, Sequence[str], dict[str, dict[str, int]]]":
            right = {query_id: {str(one.doc_id): 1 for one in whole[query_id]} for query_id in query_ids}
            asked = [texts[query_id] for query_id in query_ids]
            hits = first_stage.retrieve(asked, collection_settings.candidates, show_progress=show_progress)
            return hits, query_ids, right

        def checked(folder: Path, model: Any) -> list[Check]:
            carried = CarriedWeight.read(folder)
            if not elsewhere or carried is None:
                return []
            dense = first_stage.collection.manifest.first_leg("vectors")
            return check_elsewhere(
                elsewhere,
                collection_settings.checks,
                CrossEncoder(folder) if model is None else model,
                carried,
                output,
                dense=None if dense is None else first_stage.leg(dense).encoder,
                candidates=collection_settings.candidates,
                seed=settings.seed,
                show_progress=show_progress,
            )

        trained = load_report(output)
        if trained is not None and (output / COMPARISON_FILE).is_file():
            remedy = "delete it, and the comparison is made again"
            found = read_json_object(output / COMPARISON_FILE, remedy)
            try:
                comparison = Comparison(**found)
            except TypeError as error:
                raise StorageError(f"{output / COMPARISON_FILE} is damaged ({error}): {remedy}") from error
            checks = checked(trained.folder, None)
            return CollectionReport(split, trained.rows, trained, comparison, near, checks)

        # Before the training, because these searches, too, can fail.
        held_out, tuning = judged(split.held_out), judged(split.tuning)
        quotas = leg_quotas(
            collection_settings.collection, list(first_stage.collection.manifest.legs), collection_settings.quotas
        )
        mined = mine(
            {query_id: texts[query_id] for query_id in split.train},
            positives,
            documents,
            {name: first_stage.leg(name) for name in quotas},
            MiningSettings(quotas, seed=settings.seed, output_format=row_format(settings.loss)),
            output / NEGATIVES,
            collection=state_of(first_stage.collection.manifest),
            show_progress=show_progress,
        )
        rows = read_mined(output / NEGATIVES)
        rows = rows.select_columns(without_ids(rows.column_names))
        encoder = load_initial_model("reranker", settings, rows, output / INITIAL_MODEL)
        before = _before(settings)
        trained, card = train_on("reranker", encoder, settings, rows)

        comparison = compare(
            held_out,
            tuning,
            texts,
            documents,
            encoder,
            before=before,
            parents=Parents.in_hits(documents, [held_out[0], tuning[0]]) if parents else None,
            seed=settings.seed,
            show_progress=show_progress,
        )
        CarriedWeight(
            weight=comparison.carried,
            elsewhere=max(ELSEWHERE, comparison.weight),
            collection=Path(collection_settings.collection).name,
            queries=comparison.queries,
            candidates=collection_settings.candidates,
            gain=comparison.gains[INTERPOLATED],
            documents=sample_documents(documents.ids(), documents),
        ).write(trained.folder)
        write_json(output / COMPARISON_FILE, asdict(comparison))
        report = CollectionReport(split, mined.rows, trained, comparison, near, checked(trained.folder, encoder))
    _write_card(card, report, encoder, collection_settings)
    return report


def row_format(loss: str | None) -> "Format":
    """Return the format of the rows that a loss reads; by default labeled lists."""
    from pipelines.training.losses import cross
    from pipelines.training.losses.cross.base import PointwiseLoss, TupleLoss
    from pipelines.training.recipes.losses import class_name

    if loss is None:
        return "labeled-list"
    chosen = getattr(cross, class_name("reranker", loss))
    if issubclass(chosen, PointwiseLoss):
        return "labeled-pair"
    return "n-tuple" if issubclass(chosen, TupleLoss) else "labeled-list"


def _before(settings: TrainSettings) -> Any:
    """Return the model before training if it is a cross-encoder, else None."""
    from pipelines.training.recipes.classification_head import is_cross_encoder
    from retrieve.encoders import CrossEncoder

    return CrossEncoder(settings.model, max_length=settings.max_length) if is_cross_encoder(settings.model) else None


def _write_card(card: Any, report: CollectionReport, encoder: Any, collection_settings: CollectionSettings) -> None:
    from pipelines.model_card import EvaluationTable, write_card

    comparison, folder = report.comparison, report.trained.folder
    difference, low, high = comparison.gains[ALONE]
    note = (
        f"{comparison.queries} held-out queries; the first {counted(collection_settings.candidates, 'hit')} of the "
        "first stage were reranked. Gain of the reranker alone over the first stage in nDCG@10: "
        f"{difference:+.4f}, 95% bootstrap interval {low:+.4f} to {high:+.4f}. Combined, the first stage's score has "
        f"the weight {comparison.weight:g}, tuned on other queries; {comparison.verdict}. The interval "
        f"holds for this collection and queries like these: {report.scope}. The weight {comparison.carried:g} is "
        "stored with the model; on other collections the first "
        f"stage's score has the weight {max(ELSEWHERE, comparison.weight):g}, unless another is stated or tuned."
    )
    card.tables = [
        EvaluationTable("Reranking", comparison.figures, Path(collection_settings.collection).name, note),
        *(
            EvaluationTable(
                f"Reranking {check.name}",
                {MEASURES[0]: check.figures},
                check.name,
                f"{counted(check.queries, 'query')} of another collection; {check.verdict} (difference with the weight "
                "{:g}: {:+.4f}, 95% interval {:+.4f} to {:+.4f}).".format(check.weight, *check.gains[INTERPOLATED]),
            )
            for check in report.checks
        ),
    ]
    write_card(folder, card, encoder)


def _fingerprint(texts: Mapping[str, str], positives: Mapping[str, Sequence[Positive]]) -> str:
    digest = blake2b(digest_size=16)
    for query_id, text in texts.items():
        digest.update(f"{query_id}\0{text}\0".encode())
        for right in positives.get(query_id, ()):
            digest.update(f"{right.doc_id}\0{right.text}\0".encode())
    return digest.hexdigest()
