"""NanoBEIR: thirteen small subsets of BEIR (50 queries and a few thousand documents each), and their translations.

The dataset on the Hub has the configurations ``corpus`` (_id, text), ``queries`` (_id, text), ``qrels`` (query-id,
corpus-id) and ``bm25`` (query-id, corpus-ids, best first), each with a split ``Nano<Name>``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexing.corpora.sources.records import error_at
from indexing.errors import InputError
from pipelines.evaluation.datasets import find_tables
from pipelines.evaluation.tables import Tables, joined

NANOBEIR = "sentence-transformers/NanoBEIR-en"
NAMES = {
    "climatefever": "ClimateFEVER",
    "dbpedia": "DBPedia",
    "fever": "FEVER",
    "fiqa2018": "FiQA2018",
    "hotpotqa": "HotpotQA",
    "msmarco": "MSMARCO",
    "nfcorpus": "NFCorpus",
    "nq": "NQ",
    "quoraretrieval": "QuoraRetrieval",
    "scidocs": "SCIDOCS",
    "arguana": "ArguAna",
    "scifact": "SciFact",
    "touche2020": "Touche2020",
}
"""Name in the dataset's splits of each set, by the name that evaluators use."""


@dataclass(frozen=True, slots=True)
class NanoSet:
    """One of NanoBEIR's sets.

    Parameters
    ----------
    name
        Display name, a value of `NAMES`: "SciFact".
    queries, corpus
        {id: text}; empty texts are dropped.
    relevant_docs
        {query_id: ids of its relevant documents}.
    first_stage
        {query_id: ids in BM25's order} from the ``bm25`` configuration; None if not loaded.
    """

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevant_docs: Mapping[str, set[str]]
    first_stage: Mapping[str, Sequence[str]] | None = None


def split_name(name: str) -> str:
    """Return the split of a set: "NanoSciFact" for "scifact".

    Raises
    ------
    InputError
        For an unknown set.
    """
    if name.lower() not in NAMES:
        raise InputError(f"NanoBEIR has no set {name!r}; choose one of {', '.join(NAMES)}")
    return f"Nano{NAMES[name.lower()]}"


def load_nanobeir(
    name: str,
    dataset_id: str = NANOBEIR,
    *,
    data_dir: str | Path | None = None,
    first_stage: bool = False,
) -> NanoSet:
    """Load one set.

    Parameters
    ----------
    name
        Name of the set, see `NAMES`; case does not matter.
    dataset_id
        Dataset on the Hub (translations have their own), or a folder with a copy: ``corpus/NanoSciFact-….parquet`` and
        so on.
    data_dir
        Folder of local copies, named by the id or its last part; by default RETRIEVE_DATA. Without a copy the dataset
        comes from the Hub, or only from the Hub's cache if HF_HUB_OFFLINE is set.
    first_stage
        Also load BM25's order.

    Raises
    ------
    InputError
        For an unknown set, a dataset that cannot be found or reached, or a table without a column.
    """
    split, tables = split_name(name), find_tables(dataset_id, data_dir)
    corpus = dict(_rows(tables, "corpus", split, "_id", "text"))
    queries = dict(_rows(tables, "queries", split, "_id", "text"))
    relevant: dict[str, set[str]] = {}
    for query_id, ids in _rows(tables, "qrels", split, "query-id", "corpus-id"):
        relevant.setdefault(query_id, set()).update(ids if isinstance(ids, list) else [ids])
    return NanoSet(
        NAMES[name.lower()],
        {query_id: text for query_id, text in queries.items() if text},
        {doc_id: text for doc_id, text in corpus.items() if text},
        relevant,
        dict(_rows(tables, "bm25", split, "query-id", "corpus-ids")) if first_stage else None,
    )


def _rows(tables: Tables, config: str, split: str, key: str, value: str) -> Iterator[tuple[str, Any]]:
    """Yield two columns of a configuration's split, row by row."""
    splits = tables.splits(config)
    if split not in splits:
        existing = ", ".join(sorted(splits)) or "no split at all"
        raise InputError(f"{tables.root}: the configuration {config!r} has no split {split!r}; it has {existing}")
    source = joined(splits[split], f"{tables.root.name}, {config}, {split}")
    for record in source.records():
        missing = next((column for column in (key, value) if record.values.get(column) is None), None)
        if record.problem or missing:
            raise error_at(source, record, record.problem or f"there is no {missing!r}")
        yield str(record.values[key]), record.values[value]
