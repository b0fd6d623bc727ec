"""Evaluation sets: a corpus with the queries and judgements of one split, from a folder, the Hub or this machine."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from indexing.corpora.queries import qrels_of, queries_of, read_qrels
from indexing.errors import InputError
from pipelines.evaluation.checks import check_corpus as run_checks
from pipelines.evaluation.judged_corpus import JudgedCorpus
from pipelines.evaluation.tables import Splits, Tables, fetch, joined

logger = logging.getLogger(__name__)

DATA_VARIABLE = "RETRIEVE_DATA"
"""Environment variable: where collections lie, ``<name>/corpus.jsonl`` or the Hub's ``<owner>/<name>``."""

PYDOCS = "pydocs"

CQADUPSTACK = "cqadupstack"
CQADUPSTACK_PARTS = tuple(
    f"{CQADUPSTACK}-{part}"
    for part in (
        "android",
        "english",
        "gaming",
        "gis",
        "mathematica",
        "physics",
        "programmers",
        "stats",
        "tex",
        "unix",
        "webmasters",
        "wordpress",
    )
)
"""The twelve forums that the field reports as one set, by the mean of their twelve means."""

BEIR_NAMES = (
    "arguana",
    "climate-fever",
    *CQADUPSTACK_PARTS,
    "dbpedia-entity",
    "fever",
    "fiqa",
    "hotpotqa",
    "msmarco",
    "nfcorpus",
    "nq",
    "quora",
    "scidocs",
    "scifact",
    "trec-covid",
    "webis-touche2020",
)
"""BEIR's public collections (Thakur et al. 2021), on the Hub as ``BeIR/<name>`` with ``BeIR/<name>-qrels``, and
CQADupStack's forums as ``mteb/<name>``."""

DEFAULT_SPLITS = {"msmarco": "dev"}
"""The split that is scored where it is not ``test``: MS MARCO's test judgements are secret."""

_USUAL_SPLITS = ("test", "dev", "validation", "train", "corpus")
_OTHER_NAMES = {"dev": "validation", "validation": "dev"}
_REFERENCE = re.compile(r"(?P<name>.+):(?P<split>[\w.-]+)")


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A corpus, and one split's queries with their judgements.

    Parameters
    ----------
    name, split
        What was loaded.
    corpus
        All documents, read anew at each pass.
    queries
        ``{query_id: text}`` of the judged queries, in the order of `qrels`.
    qrels
        ``{query_id: {doc_id: grade}}``.
    unknown_queries
        How many judged queries have no text: they are left out of both.
    altered
        Whether these are other queries or judgements than the collection's: no published figure is of them.
    """

    name: str
    split: str
    corpus: JudgedCorpus
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    unknown_queries: int = 0
    altered: bool = False

    def limited(self, queries: int) -> "EvaluationSet":
        """Keep this many queries, chosen by a hash of their ids: always the same, and spread over the whole set."""
        texts, qrels = limit_queries(self.queries, self.qrels, queries)
        return replace(self, queries=texts, qrels=qrels, altered=self.altered or len(texts) < len(self.queries))

    def judged_by(self, qrels: Mapping[str, Mapping[str, int]]) -> "EvaluationSet":
        """Take other judgements of the same queries; those of queries that are not here are left out and counted."""
        return replace(_joined(self.name, self.split, self.corpus, self.queries, qrels), altered=True)


def load_evaluation_set(
    name_or_folder: str | Path,
    split: str = "test",
    *,
    data_dir: str | Path | None = None,
    check_corpus: bool = True,
) -> EvaluationSet:
    """Load a corpus with one split's queries and judgements.

    Documents without a word and repeats of a document's id are left out of the corpus, which benchmarks have and no
    search could find or tell apart; anything else that is wrong with a record stops the load.

    Parameters
    ----------
    name_or_folder
        A folder in BEIR layout (``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``) or in the Hub's (see
        `tables.Tables`); ``pydocs``, made on this machine; one of BEIR's names; or a dataset of the Hub,
        ``owner/name``, with tables ``corpus``, ``queries`` and ``qrels`` (or ``default``, or in ``owner/name-qrels``).
    split
        ``test``, ``train`` or ``dev``, as far as the collection has them. A collection of collections names its parts
        by split in all three tables: ``sentence-transformers/NanoBEIR-en`` has ``NanoSciFact``.
    data_dir
        Where collections lie; by default the environment variable ``RETRIEVE_DATA``. What lies there as ``<name>``,
        ``BeIR/<name>`` or ``<owner>/<name>`` is read instead of the Hub. ``pydocs`` is kept there too, else in the
        user's cache folder.
    check_corpus
        Read the corpus through once, so that a broken one is found before any work, and warn of what `checks` finds.

    Raises
    ------
    InputError
        For an unknown name, a split that is not there (naming those that are), a Hub that cannot be reached, or
        when no judged query has a text.
    """
    name, data = str(name_or_folder), _data_folder(data_dir)
    folder = _find_folder(name_or_folder, data)
    found = _load(folder, name, split) if folder is not None else _from_hub(name, split)
    if check_corpus:
        for line in run_checks(found.corpus, found.queries, found.qrels).warnings():
            logger.warning("%s, split %s: %s", found.name, split, line)
    return found


def find_tables(name_or_folder: str | Path, data_dir: str | Path | None = None) -> Tables:
    """Find a dataset in the Hub's layout: the folder named, a copy among others, or the Hub's own.

    Parameters
    ----------
    name_or_folder, data_dir
        See `load_evaluation_set`.

    Raises
    ------
    InputError
        When it is nowhere, or the Hub cannot be reached.
    """
    folder = _find_folder(name_or_folder, _data_folder(data_dir))
    if folder is not None:
        return Tables(folder)
    try:
        return Tables(fetch(_repository(str(name_or_folder))))
    except InputError as error:
        raise InputError(
            f"{error}. To go without the Hub, set {DATA_VARIABLE} (--data-dir) to a folder that holds a copy of "
            f"{name_or_folder}"
        ) from error


def parse_reference(reference: str) -> tuple[str, str]:
    """Split ``NAME[:SPLIT]`` as command lines take it; without a split the one the field scores."""
    match = None if Path(reference).exists() else _REFERENCE.fullmatch(reference)
    name, split = (match["name"], match["split"]) if match else (reference, "")
    return name, split or DEFAULT_SPLITS.get(name, "test")


def _data_folder(data_dir: str | Path | None) -> Path | None:
    given = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser() if given else None


def _find_folder(name_or_folder: str | Path, data: Path | None) -> Path | None:
    """Find the local folder that is meant; None when the Hub must be asked."""
    name, here = str(name_or_folder), Path(name_or_folder).expanduser()
    if _is_collection(here):
        return here
    for folder in _candidates(name, data) if data is not None else ():
        if _is_collection(folder):
            return folder
    if name == PYDOCS:
        from pipelines.evaluation.pydocs import build_pydocs

        return build_pydocs((data or _cache_folder()) / PYDOCS)
    if here.exists():
        raise InputError(
            f"{here} is not in BEIR layout (corpus.jsonl or corpus.jsonl.gz is missing in it), nor in the Hub's"
        )
    if name in BEIR_NAMES or re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    raise InputError(
        f"there is no collection {name!r}: give a folder in BEIR layout, {PYDOCS!r}, a Hub dataset as 'owner/name', or "
        f"one of BEIR's names: {', '.join(BEIR_NAMES)}" + ("" if data is None else f" (looked in {data} too)")
    )


def _candidates(name: str, data: Path) -> Iterator[Path]:
    yield data / name
    yield data / "BeIR" / name
    if name in CQADUPSTACK_PARTS:
        yield data / CQADUPSTACK / name.removeprefix(f"{CQADUPSTACK}-")
        yield data / "mteb" / name
    if "/" in name:
        yield data / name.rpartition("/")[2]


def _is_collection(folder: Path) -> bool:
    return folder.is_dir() and bool(Tables(folder).splits("corpus"))


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrieve-rerank"


def _repository(name: str) -> str:
    return name if "/" in name else f"mteb/{name}" if name in CQADUPSTACK_PARTS else f"BeIR/{name}"


def _from_hub(name: str, split: str) -> EvaluationSet:
    repository = _repository(name)
    try:
        return _load(fetch(repository), name, split, judgements=f"{repository}-qrels")
    except InputError as error:
        raise InputError(
            f"{error}. To go without the Hub, give a folder in BEIR layout, or set {DATA_VARIABLE} (--data-dir) to a "
            f"folder that holds a copy of {repository}, or {name}/corpus.jsonl, {name}/queries.jsonl and "
            f"{name}/qrels/{split}.tsv"
        ) from error


def _load(folder: Path, name: str, split: str, *, judgements: str | None = None) -> EvaluationSet:
    """Read a folder; where it holds no judgements, they are its sibling's, or those of the repository `judgements`."""
    tables = Tables(folder)
    # A snapshot's folder is called for its revision, a collection of collections for its parts.
    called = name.rpartition("/")[2] if judgements or name in BEIR_NAMES else folder.resolve().name
    if split in tables.splits("corpus") and split not in _USUAL_SPLITS:
        called = split
    corpus, queries = tables.table("corpus", split), tables.table("queries", split)
    if corpus is None or queries is None:
        raise InputError(f"{folder} has no table {'corpus' if corpus is None else 'queries'}")
    splits = tables.splits("qrels") or tables.splits("default")
    if not splits:
        beside = folder.with_name(f"{folder.name}-qrels")
        splits = (
            Tables(beside if judgements is None else fetch(judgements)).loose()
            if (judgements or beside.is_dir())
            else {}
        )
    wanted = next((known for known in (split, _OTHER_NAMES.get(split)) if known in splits), None)
    if wanted is None:
        raise InputError(f"{folder} has no split {split!r} of judgements; it has: {', '.join(sorted(splits)) or '-'}")
    return _joined(called, split, JudgedCorpus(corpus), queries_of(queries), _qrels(splits, wanted))


def _qrels(splits: Splits, split: str) -> dict[str, dict[str, int]]:
    files = splits[split]
    if len(files) == 1 and files[0].name.endswith((".tsv", ".tsv.gz")):
        return read_qrels(files[0])
    return qrels_of(joined(files, f"{split} judgements"))


def _joined(
    name: str, split: str, corpus: JudgedCorpus, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> EvaluationSet:
    texts, known = judged_queries(f"{name}, split {split}", queries, qrels)
    return EvaluationSet(name, split, corpus, texts, known, len(qrels) - len(known))


def judged_queries(
    what: str, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, str], dict[str, Mapping[str, int]]]:
    """Bring queries and judgements together: the judged queries with their texts, and the judgements of those.

    Judged queries without a text are left out of both, with a warning that names `what`.

    Raises
    ------
    InputError
        When no judged query has a text.
    """
    known = {query_id: grades for query_id, grades in qrels.items() if query_id in queries}
    stray = next((query_id for query_id in qrels if query_id not in queries), None)
    if not known:
        raise InputError(
            f"{what}: none of the {len(qrels)} judged queries has a text, {stray!r} for one: "
            "the qrels and the queries are not of one collection"
        )
    if unknown := len(qrels) - len(known):
        logger.warning("%s: %d judged queries have no text, %r for one: they are left out", what, unknown, stray)
    return {query_id: queries[query_id] for query_id in known}, known


def limit_queries(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], most: int
) -> tuple[dict[str, str], dict[str, Mapping[str, int]]]:
    """Keep `most` queries and their judgements, as `EvaluationSet.limited` does."""
    if most < 1:
        raise InputError(f"at least 1 query is needed, not {most}")
    chosen = set(sorted(queries, key=_hash)[:most])
    return (
        {query_id: text for query_id, text in queries.items() if query_id in chosen},
        {query_id: grades for query_id, grades in qrels.items() if query_id in chosen},
    )


def _hash(query_id: str) -> bytes:
    return blake2b(query_id.encode(), digest_size=16).digest()
