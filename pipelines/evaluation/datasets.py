"""Evaluation sets: a corpus with one split's queries and judgements, from a folder or the Hub, or generated."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from indexing.corpora.queries import qrels_of, queries_of, read_qrels
from indexing.errors import InputError
from indexing.inputs import local_path, shown
from indexing.plurals import counted
from pipelines.evaluation.checks import check_corpus as run_checks
from pipelines.evaluation.judged_corpus import JudgedCorpus
from pipelines.evaluation.tables import Splits, Tables, fetch, joined

logger = logging.getLogger(__name__)

DATA_VARIABLE = "RETRIEVE_DATA"
"""Environment variable with the folder of local collections: ``<name>/corpus.jsonl`` or ``<owner>/<name>`` there."""

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
"""CQADupStack's twelve forums, reported as one set by the mean of their means."""

MTEB_TASKS = {
    "arguana": "ArguAna",
    "climate-fever": "ClimateFEVER",
    "dbpedia-entity": "DBPedia",
    "fever": "FEVER",
    "fiqa": "FiQA2018",
    "hotpotqa": "HotpotQA",
    "msmarco": "MSMARCO",
    "nfcorpus": "NFCorpus",
    "nq": "NQ",
    "quora": "QuoraRetrieval",
    "scidocs": "SCIDOCS",
    "scifact": "SciFact",
    "trec-covid": "TRECCOVID",
    "webis-touche2020": "Touche2020",
}
"""MTEB's names of BEIR's collections other than CQADupStack."""

BEIR_NAMES = tuple(sorted((*MTEB_TASKS, *CQADUPSTACK_PARTS)))
"""BEIR's public collections (Thakur et al. 2021). The Hub has them as ``BeIR/<name>`` with ``BeIR/<name>-qrels``, and
CQADupStack's forums as ``mteb/<name>``."""

DEFAULT_SPLITS = {"msmarco": "dev"}
"""Default splits other than ``test``: MS MARCO's test judgements are not public."""

_USUAL_SPLITS = ("test", "dev", "validation", "train", "corpus")
_OTHER_NAMES = {"dev": "validation", "validation": "dev"}
_REFERENCE = re.compile(r"(?P<name>.+):(?P<split>[\w.-]+)")


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A corpus with one split's queries and judgements.

    Parameters
    ----------
    name, split
        Names of the collection and the split.
    corpus
        All documents, read again at each pass.
    queries
        ``{query_id: text}`` of the judged queries, in the order of `qrels`.
    qrels
        ``{query_id: {doc_id: grade}}``.
    unknown_queries
        Number of judged queries without a text, which are in neither.
    altered
        Whether queries or judgements differ from the collection's, so that published figures do not apply.
    """

    name: str
    split: str
    corpus: JudgedCorpus
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    unknown_queries: int = 0
    altered: bool = False

    def limited(self, queries: int) -> "EvaluationSet":
        """Keep this many queries, chosen by a hash of their ids: always the same, and spread over the set."""
        texts, qrels = limit_queries(self.queries, self.qrels, queries)
        return replace(self, queries=texts, qrels=qrels, altered=self.altered or len(texts) < len(self.queries))

    def judged_by(self, qrels: Mapping[str, Mapping[str, int]]) -> "EvaluationSet":
        """Replace the judgements; those of unknown queries are dropped and counted."""
        return replace(_with_judged_queries(self.name, self.split, self.corpus, self.queries, qrels), altered=True)


def load_evaluation_set(
    name_or_folder: str | Path,
    split: str = "test",
    *,
    data_dir: str | Path | None = None,
    check_corpus: bool = True,
) -> EvaluationSet:
    """Load a corpus with one split's queries and judgements.

    Empty documents and repeated ids, which some benchmarks have, are dropped from the corpus, because no search can
    find them or tell them apart. Any other problem in a record stops the load.

    Parameters
    ----------
    name_or_folder
        A folder in BEIR layout (``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``) or the Hub's layout (see
        `tables.Tables`); ``pydocs``, generated locally; one of BEIR's names; or a Hub dataset ``owner/name`` with
        tables ``corpus``, ``queries`` and ``qrels`` (or ``default``, or in ``owner/name-qrels``).
    split
        ``test``, ``train`` or ``dev``, if the collection has it. A collection of collections names its parts by split
        in all three tables: ``sentence-transformers/NanoBEIR-en`` has ``NanoSciFact``.
    data_dir
        Folder of local collections; by default the environment variable ``RETRIEVE_DATA``. ``<name>``, ``BeIR/<name>``
        or ``<owner>/<name>`` there is read instead of the Hub. ``pydocs`` is stored there, else in the user's cache
        folder.
    check_corpus
        Read the whole corpus once to find errors before any other work, and warn of the findings of `checks`.

    Raises
    ------
    InputError
        For an unknown name, a missing split (the message lists the existing ones), a Hub that cannot be reached, or
        when no judged query has a text.
    """
    if not str(name_or_folder).strip():
        raise InputError(f"a dataset is a folder, a name such as scifact, or owner/name, not {shown(name_or_folder)}")
    name, data = str(name_or_folder), _data_folder(data_dir)
    folder = _find_folder(name_or_folder, data)
    dataset = _load(folder, name, split) if folder is not None else _from_hub(name, split)
    if check_corpus:
        for line in run_checks(dataset.corpus, dataset.queries, dataset.qrels).warnings():
            logger.warning("%s, split %s: %s", dataset.name, split, line)
    return dataset


def find_tables(name_or_folder: str | Path, data_dir: str | Path | None = None) -> Tables:
    """Return a dataset in the Hub's layout: a folder, a local copy, or a download from the Hub.

    Parameters
    ----------
    name_or_folder, data_dir
        See `load_evaluation_set`.

    Raises
    ------
    InputError
        When it does not exist, or the Hub cannot be reached.
    """
    folder = _find_folder(name_or_folder, _data_folder(data_dir))
    if folder is not None:
        return Tables(folder)
    try:
        return Tables(fetch(_repository(str(name_or_folder))))
    except InputError as error:
        raise InputError(
            f"{error}. To work without the Hub, set {DATA_VARIABLE} (--data-dir) to a folder with a copy of "
            f"{name_or_folder}"
        ) from error


def parse_reference(reference: str) -> tuple[str, str]:
    """Split the command line's ``NAME[:SPLIT]`` into name and split; the default is ``test`` or `DEFAULT_SPLITS`."""
    match = None if Path(reference).exists() else _REFERENCE.fullmatch(reference)
    name, split = (match["name"], match["split"]) if match else (reference, "")
    return name, split or DEFAULT_SPLITS.get(name, "test")


def _data_folder(data_dir: str | Path | None) -> Path | None:
    folder = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(folder).expanduser() if folder else None


def _find_folder(name_or_folder: str | Path, data: Path | None) -> Path | None:
    """Return the collection's local folder; None if it must be downloaded from the Hub."""
    name, here = str(name_or_folder), local_path(name_or_folder, "name_or_folder").expanduser()
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
            f"{here} is not in BEIR layout (it has no corpus.jsonl or corpus.jsonl.gz), nor in the Hub's layout"
        )
    if name in BEIR_NAMES or re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    raise InputError(
        f"there is no collection {name!r}: use a folder in BEIR layout, {PYDOCS!r}, a Hub dataset as 'owner/name', or "
        f"one of BEIR's names: {', '.join(BEIR_NAMES)}" + ("" if data is None else f" (also looked in {data})")
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
            f"{error}. To work without the Hub, use a folder in BEIR layout, or set {DATA_VARIABLE} (--data-dir) to a "
            f"folder with a copy of {repository}, or with {name}/corpus.jsonl, {name}/queries.jsonl and "
            f"{name}/qrels/{split}.tsv"
        ) from error


def _load(folder: Path, name: str, split: str, *, judgements: str | None = None) -> EvaluationSet:
    """Load a folder; one without judgements has them in the folder beside it or in the repository `judgements`."""
    tables = Tables(folder)
    # A snapshot's folder is named after its revision, which is no name of a collection.
    set_name = name.rpartition("/")[2] if judgements or name in BEIR_NAMES else folder.resolve().name
    if split in tables.splits("corpus") and split not in _USUAL_SPLITS:
        set_name = split
    corpus, queries = tables.table("corpus", split), tables.table("queries", split)
    if corpus is None or queries is None:
        raise InputError(f"{folder} has no table {'corpus' if corpus is None else 'queries'}")
    splits = tables.splits("qrels") or tables.splits("default")
    if not splits:
        sibling = folder.with_name(f"{folder.name}-qrels")
        if judgements or sibling.is_dir():
            splits = Tables(sibling if judgements is None else fetch(judgements)).root_splits()
    qrels_split = next((known for known in (split, _OTHER_NAMES.get(split)) if known in splits), None)
    if qrels_split is None:
        raise InputError(f"{folder} has no split {split!r} of judgements; it has: {', '.join(sorted(splits)) or '-'}")
    qrels = _qrels(splits, qrels_split)
    return _with_judged_queries(set_name, split, JudgedCorpus(corpus), queries_of(queries), qrels)


def _qrels(splits: Splits, split: str) -> dict[str, dict[str, int]]:
    files = splits[split]
    if len(files) == 1 and files[0].name.endswith((".tsv", ".tsv.gz")):
        return read_qrels(files[0])
    return qrels_of(joined(files, f"{split} judgements"))


def _with_judged_queries(
    name: str, split: str, corpus: JudgedCorpus, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> EvaluationSet:
    texts, known = judged_queries(f"{name}, split {split}", queries, qrels)
    return EvaluationSet(name, split, corpus, texts, known, len(qrels) - len(known))


def judged_queries(
    description: str, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, str], dict[str, Mapping[str, int]]]:
    """Return the judged queries with their texts, and the judgements of these queries.

    Judged queries without a text are dropped, with a warning that names `description`.

    Raises
    ------
    InputError
        When no judged query has a text.
    """
    known = {query_id: grades for query_id, grades in qrels.items() if query_id in queries}
    stray = next((query_id for query_id in qrels if query_id not in queries), None)
    if not known:
        raise InputError(
            f"{description}: none of the {len(qrels)} judged queries has a text, {stray!r} for example: "
            "the qrels and the queries are from different collections"
        )
    if unknown := len(qrels) - len(known):
        logger.warning(
            "%s: %s without a text, %r for example, dropped", description, counted(unknown, "judged query"), stray
        )
    return {query_id: queries[query_id] for query_id in known}, known


def limit_queries(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], count: int
) -> tuple[dict[str, str], dict[str, Mapping[str, int]]]:
    """Keep `count` queries and their judgements, as `EvaluationSet.limited` does."""
    if count < 1:
        raise InputError(f"at least 1 query is needed, not {count}")
    chosen = set(sorted(queries, key=_hash)[:count])
    return (
        {query_id: text for query_id, text in queries.items() if query_id in chosen},
        {query_id: grades for query_id, grades in qrels.items() if query_id in chosen},
    )


def _hash(query_id: str) -> bytes:
    return blake2b(query_id.encode(), digest_size=16).digest()
