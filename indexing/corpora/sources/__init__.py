"""Where records come from: files of lines, Parquet, datasets."""

import re
from pathlib import Path

from indexing.corpora.sources.joined import Joined
from indexing.corpora.sources.records import Record, Source
from indexing.corpora.sources.tables import SAVED_DATASET, HubTable, Parquet
from indexing.corpora.sources.text_files import Delimited, JsonLines
from indexing.errors import InputError

__all__ = ["Delimited", "HubTable", "JsonLines", "Parquet", "Record", "Source", "open_source"]

_KINDS = "a BEIR folder, a .jsonl, .json, .csv or .tsv file (also with .gz), Parquet, or a dataset's name"
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def open_source(
    source: str | Path, *, stem: str = "corpus", config: str | None = None, split: str | None = None
) -> Source:
    """Find out what `source` is, by what lies there and by its name's ending; reads none of it.

    Parameters
    ----------
    source
        A file, a folder, or (only as a string) the name of a dataset on the Hub.
    stem
        Which of a BEIR folder's files is meant: ``<stem>.jsonl`` or ``<stem>.jsonl.gz``; or a folder's files
        ``<stem>-*.jsonl``, else ``part-*.jsonl``, read one after another.
    config, split
        For datasets: see `HubTable`.

    Raises
    ------
    InputError
        When nothing is there, or nothing that can be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path, stem, split)
    if path.exists():
        return _file(path)
    if isinstance(source, str) and _HUB_NAME.fullmatch(source) and not _has_known_ending(path):
        return HubTable(source, config, split)
    raise InputError(f"{source} is not there: give {_KINDS}")


def _in_folder(folder: Path, stem: str, split: str | None) -> Source:
    for name in (f"{stem}.jsonl", f"{stem}.jsonl.gz"):
        if (folder / name).is_file():
            return JsonLines(folder / name)
    if any((folder / mark).is_file() for mark in SAVED_DATASET):
        return HubTable(str(folder), split=split)
    parts = [
        part
        for pattern in (f"{stem}-*", "part-*")
        for part in sorted(folder.glob(pattern))
        if _ending(part) == ".jsonl"
    ]
    if parts:
        return Joined(tuple(map(JsonLines, parts)), str(folder))
    # A copy of a Hub dataset has its configurations in folders; one without holds a single table.
    for tables in (folder / stem, folder):
        if next(tables.rglob("*.parquet"), None) is not None:
            return Parquet(tables)
    raise InputError(
        f"{folder} holds neither {stem}.jsonl (or {stem}.jsonl.gz), nor {stem}-*.jsonl or part-*.jsonl, nor "
        "Parquet files nor a saved dataset"
    )


def _file(path: Path) -> Source:
    match _ending(path):
        case ".jsonl" | ".json":
            return JsonLines(path)
        case ".csv":
            return Delimited(path)
        case ".tsv":
            return Delimited(path, "\t")
        case ".parquet":
            return Parquet(path)
        case "":
            raise InputError(f"{path}: its name has no ending that says what kind of file it is: give {_KINDS}")
        case ending:
            raise InputError(f"{path}: a file that ends in {ending!r} is of no known kind: give {_KINDS}")


def _ending(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _has_known_ending(path: Path) -> bool:
    known = {".jsonl", ".json", ".csv", ".tsv", ".parquet"}
    return _ending(path) in known or path.suffix in {".gz", ".zip", ".txt", ".xml", ".xlsx", ".arrow", ".pkl"}
