"""Sources of records: text files, Parquet files and datasets."""

import re
from pathlib import Path

from indexing.corpora.sources.folder import has_glob
from indexing.corpora.sources.formats import is_known
from indexing.corpora.sources.joined import Joined
from indexing.corpora.sources.records import Record, Source
from indexing.corpora.sources.tables import SAVED_DATASET, HubTable, Parquet
from indexing.corpora.sources.text_files import Delimited, JsonLines
from indexing.errors import InputError
from indexing.inputs import local_path

__all__ = ["Delimited", "HubTable", "JsonLines", "Parquet", "Record", "Source", "open_source"]

_KINDS = "a BEIR folder, a .jsonl, .json, .csv or .tsv file (also with .gz), Parquet, or a dataset's name"
_RECORDS = frozenset({".jsonl", ".json", ".csv", ".tsv", ".parquet"})
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def open_source(
    source: str | Path, *, stem: str = "corpus", config: str | None = None, split: str | None = None
) -> Source:
    """Detect the kind of `source` from its contents and file extension, without reading records.

    Parameters
    ----------
    source
        A file, a folder, or (only as a string) the name of a dataset on the Hub.
    stem
        Name of the file in a folder: ``<stem>.jsonl`` or ``<stem>.jsonl.gz``, as in BEIR; else all files
        ``<stem>-*.jsonl`` and ``part-*.jsonl``, read one after another.
    config, split
        For datasets: see `HubTable`.

    Raises
    ------
    InputError
        When `source` does not exist, or is of no supported kind.
    """
    path = local_path(source, "source").expanduser()
    if path.is_dir():
        return _in_folder(path, stem, split)
    if path.exists():
        return _file(path)
    if isinstance(source, str) and _HUB_NAME.fullmatch(source) and not _has_known_extension(path):
        return HubTable(source, config, split)
    raise InputError(f"{source} does not exist: pass {_KINDS}")


def is_of_records(source: str | Path) -> bool:
    """Return whether `open_source` reads this, rather than `indexing.corpora.files.read_files`.

    A path that does not exist counts as the name of a dataset if it looks like one.
    """
    path = local_path(source, "source").expanduser()
    if path.is_dir():
        try:
            _in_folder(path, "corpus", None)
        except InputError:
            return False
        return True
    if path.exists():
        return _extension(path) in _RECORDS
    return not has_glob(source) and (_extension(path) in _RECORDS or not is_known(path.name))


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
        if _extension(part) == ".jsonl"
    ]
    if parts:
        return Joined(tuple(map(JsonLines, parts)), str(folder))
    # A copy of a Hub dataset has one folder per configuration; without configurations it is a single table.
    for tables in (folder / stem, folder):
        if next(tables.rglob("*.parquet"), None) is not None:
            return Parquet(tables)
    raise InputError(
        f"{folder} contains no {stem}.jsonl (or {stem}.jsonl.gz), no {stem}-*.jsonl or part-*.jsonl, no "
        "Parquet file and no saved dataset"
    )


def _file(path: Path) -> Source:
    match _extension(path):
        case ".jsonl" | ".json":
            return JsonLines(path)
        case ".csv":
            return Delimited(path)
        case ".tsv":
            return Delimited(path, "\t")
        case ".parquet":
            return Parquet(path)
        case "":
            raise InputError(f"{path} has no file extension to tell its format: pass {_KINDS}")
        case extension:
            raise InputError(f"{path}: unknown file extension {extension!r}: pass {_KINDS}")


def _extension(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _has_known_extension(path: Path) -> bool:
    return _extension(path) in _RECORDS or path.suffix in {".gz", ".zip", ".txt", ".xml", ".xlsx", ".arrow", ".pkl"}
