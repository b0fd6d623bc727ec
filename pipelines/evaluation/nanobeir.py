"""NanoBEIR: thirteen small cuts of BEIR (50 queries and some thousand documents each), and their translations.

The dataset on the Hub has the configurations ``corpus`` (_id, text), ``queries`` (_id, text), ``qrels`` (query-id,
corpus-id) and ``bm25`` (query-id, corpus-ids, best first), each with a split ``Nano<Name>``.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexing.errors import InputError, SetupError

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
"""The sets, by the names that evaluators take, with the names that their splits have."""


@dataclass(frozen=True, slots=True)
class NanoSet:
    """One of the sets.

    Parameters
    ----------
    name
        As in `NAMES`, for people: "SciFact".
    queries, corpus
        {id: text}; empty texts are left out.
    relevant_docs
        {query_id: ids of its relevant documents}.
    first_stage
        {query_id: ids as BM25 ordered them}, of the ``bm25`` configuration; None when it was not asked for.
    """

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevant_docs: Mapping[str, set[str]]
    first_stage: Mapping[str, Sequence[str]] | None = None


def split_name(name: str) -> str:
    """Give the split of a set: "NanoSciFact" for "scifact".

    Raises
    ------
    InputError
        When there is no such set.
    """
    if name.lower() not in NAMES:
        raise InputError(f"NanoBEIR has no set {name!r}: there are {', '.join(NAMES)}")
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
        See `NAMES`; in any case.
    dataset_id
        On the Hub (translations have their own), or a folder with a copy of it: ``corpus/NanoSciFact-….parquet`` and
        so on.
    data_dir
        Where copies are, under the id or its last part; RETRIEVE_DATA unless given. Only without a copy the Hub is
        asked, or the Hub's cache when HF_HUB_OFFLINE is set.
    first_stage
        Load BM25's order as well.

    Raises
    ------
    InputError
        No such set, or a table lacks a column.
    SetupError
        When it can neither be found nor reached.
    """
    split = split_name(name)
    corpus = {row["_id"]: row["text"] for row in _table(dataset_id, "corpus", split, ("_id", "text"), data_dir)}
    queries = {row["_id"]: row["text"] for row in _table(dataset_id, "queries", split, ("_id", "text"), data_dir)}
    relevant: dict[str, set[str]] = {}
    for row in _table(dataset_id, "qrels", split, ("query-id", "corpus-id"), data_dir):
        ids = row["corpus-id"]
        relevant.setdefault(row["query-id"], set()).update(ids if isinstance(ids, list) else [ids])
    order = None
    if first_stage:
        rows = _table(dataset_id, "bm25", split, ("query-id", "corpus-ids"), data_dir)
        order = {row["query-id"]: row["corpus-ids"] for row in rows}
    return NanoSet(
        NAMES[name.lower()],
        {query_id: text for query_id, text in queries.items() if text},
        {doc_id: text for doc_id, text in corpus.items() if text},
        relevant,
        order,
    )


def _table(
    dataset_id: str, config: str, split: str, columns: Sequence[str], data_dir: str | Path | None
) -> list[dict[str, Any]]:
    folder = _copy(dataset_id, data_dir)
    if folder is not None:
        rows, told = _read_copy(folder, config, split), str(folder)
    else:
        rows, told = _from_hub(dataset_id, config, split), dataset_id
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise InputError(f"{told}, {config}, split {split}: there is no column {missing[0]!r}")
    found: list[dict[str, Any]] = rows.select(list(columns)).to_pylist()
    return found


def _copy(dataset_id: str, data_dir: str | Path | None) -> Path | None:
    given = data_dir or os.environ.get("RETRIEVE_DATA")
    candidates = [Path(dataset_id).expanduser()]
    if given:
        candidates += [Path(given).expanduser() / part for part in (dataset_id, dataset_id.rpartition("/")[2])]
    return next((folder for folder in candidates if (folder / "corpus").is_dir()), None)


def _read_copy(folder: Path, config: str, split: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [*sorted((folder / config).glob(f"{split}-*.parquet")), *(folder / config).glob(f"{split}.parquet")]
    if not files:
        raise InputError(f"{folder / config} has no Parquet file of the split {split}")
    return pa.concat_tables([pq.read_table(file) for file in files])


def _from_hub(dataset_id: str, config: str, split: str) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(dataset_id, config, split=split).data.table
    except Exception as error:
        told = (str(error).splitlines() or [repr(error)])[0]
        raise SetupError(
            f"NanoBEIR's {config} of {split} cannot be loaded from {dataset_id} ({type(error).__name__}: {told}): give "
            "data_dir, or set RETRIEVE_DATA, to a folder with a copy of the dataset"
        ) from error
