"""Evaluation sets: a corpus with the queries and judgements of one split, from a folder, the Hub or this machine."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from indexing.corpora import Corpus, read_corpus
from indexing.errors import InputError
from indexing.queries import qrels_of, queries_of, read_qrels, read_queries
from indexing.sources import HubTable

logger = logging.getLogger(__name__)

DATA_VARIABLE = "RETRIEVE_DATA"
"""Environment variable: where collections lie, ``<name>/corpus.jsonl``."""

PYDOCS = "pydocs"

BEIR_NAMES = (
    "arguana",
    "climate-fever",
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
"""BEIR's public collections that lie on the Hub as ``BeIR/<name>`` with ``BeIR/<name>-qrels`` (Thakur et al. 2021)."""

_HUB_SPLITS = {"dev": "validation"}


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
    """

    name: str
    split: str
    corpus: Corpus
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    def limited(self, queries: int) -> "EvaluationSet":
        """Keep this many queries, chosen by a hash of their ids: always the same, and spread over the whole set."""
        if queries < 1:
            raise InputError(f"at least 1 query is needed, not {queries}")
        chosen = set(sorted(self.queries, key=_hash)[:queries])
        return replace(
            self,
            queries={query_id: text for query_id, text in self.queries.items() if query_id in chosen},
            qrels={query_id: grades for query_id, grades in self.qrels.items() if query_id in chosen},
        )

    def missing_documents(self) -> int:
        """Read the corpus once and count the relevant documents it lacks: they bound recall from above."""
        relevant = {doc_id for grades in self.qrels.values() for doc_id, grade in grades.items() if grade > 0}
        for document in self.corpus:
            relevant.discard(document.doc_id)
        return len(relevant)


def load_evaluation_set(
    name_or_folder: str | Path,
    split: str = "test",
    *,
    data_dir: str | Path | None = None,
    check_corpus: bool = True,
) -> EvaluationSet:
    """Load a corpus with one split's queries and judgements.

    Parameters
    ----------
    name_or_folder
        A folder in BEIR layout (``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``); ``pydocs``, made on
        this machine; the name of a folder in `data_dir`; or one of BEIR's names, then read from the Hub.
    split
        ``test``, ``train`` or ``dev``, as far as the collection has them.
    data_dir
        Where collections lie; by default the environment variable ``RETRIEVE_DATA``. ``pydocs`` is kept there too,
        else in the user's cache folder.
    check_corpus
        Read the corpus through once, so that a broken one is found before any work, and warn when it lacks
        documents that are judged relevant.

    Raises
    ------
    InputError
        For an unknown name, a split that is not there (naming those that are), a Hub that cannot be reached, or
        judged queries without a text.
    """
    folder = _find_folder(name_or_folder, _data_folder(data_dir))
    found = _from_hub(str(name_or_folder), split) if folder is None else _from_folder(folder, split)
    if check_corpus and (missing := found.missing_documents()):
        logger.warning(
            "%s, split %s: %d documents that are judged relevant are not in the corpus: nothing can find them",
            found.name,
            split,
            missing,
        )
    return found


def _data_folder(data_dir: str | Path | None) -> Path | None:
    given = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser() if given else None


def _find_folder(name_or_folder: str | Path, data: Path | None) -> Path | None:
    """Find the BEIR folder that is meant; None when the Hub must be asked."""
    name = str(name_or_folder)
    here = Path(name_or_folder).expanduser()
    if _is_beir(here):
        return here
    if data is not None and _is_beir(data / name):
        return data / name
    if name == PYDOCS:
        from pipelines.evaluation.pydocs import build_pydocs

        return build_pydocs((data or _cache_folder()) / PYDOCS)
    if name in BEIR_NAMES:
        return None
    if here.exists():
        raise InputError(f"{here} is not in BEIR layout: corpus.jsonl (or corpus.jsonl.gz) is missing in it")
    raise InputError(
        f"there is no collection {name!r}: give a folder in BEIR layout, {PYDOCS!r}, or one of BEIR's names: "
        f"{', '.join(BEIR_NAMES)}" + ("" if data is None else f" (looked in {data} too)")
    )


def _is_beir(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz"))


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrieve-rerank"


def _from_folder(folder: Path, split: str) -> EvaluationSet:
    name = folder.resolve().name
    qrels_file = folder / "qrels" / f"{split}.tsv"
    if not qrels_file.is_file():
        splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
        raise InputError(
            f"{folder} has no split {split!r} ({qrels_file} is missing); it has: {', '.join(splits) or '-'}"
        )
    return _joined(name, split, read_corpus(folder), read_queries(folder), read_qrels(qrels_file))


def _from_hub(name: str, split: str) -> EvaluationSet:
    hub = f"BeIR/{name}"
    try:
        return _joined(
            name,
            split,
            # The corpus first: where the Hub cannot be reached, nothing else is tried.
            corpus=_reached(Corpus(HubTable(hub, "corpus", "corpus"))),
            queries=queries_of(HubTable(hub, "queries", "queries")),
            qrels=qrels_of(HubTable(f"{hub}-qrels", split=_HUB_SPLITS.get(split, split))),
        )
    except InputError as error:
        raise InputError(
            f"{error}. To go without the Hub, give a folder in BEIR layout, or set {DATA_VARIABLE} (--data-dir) to a "
            f"folder that holds {name}/corpus.jsonl, {name}/queries.jsonl and {name}/qrels/{split}.tsv"
        ) from error


def _reached(corpus: Corpus) -> Corpus:
    corpus.count()
    return corpus


def _joined(
    name: str, split: str, corpus: Corpus, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> EvaluationSet:
    unknown = [query_id for query_id in qrels if query_id not in queries]
    if unknown:
        raise InputError(
            f"{name}, split {split}: {len(unknown)} judged queries have no text, {unknown[0]!r} for one: "
            "the qrels and the queries are not of one collection"
        )
    return EvaluationSet(name, split, corpus, {query_id: queries[query_id] for query_id in qrels}, qrels)


def _hash(query_id: str) -> bytes:
    return blake2b(query_id.encode(), digest_size=16).digest()
