"""Tables of a dataset in the Hub's layout: configurations and splits of Parquet, JSON-lines or TSV files.

The layout is the same in a repository of the Hub, its snapshot in the Hub's cache, and a copied folder.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from indexing.corpora.sources import Source, open_source
from indexing.corpora.sources.joined import Joined
from indexing.errors import InputError

_ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz", ".csv")
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")

Splits = Mapping[str, Sequence[Path]]
"""The files of each split."""


@dataclass(frozen=True)
class Tables:
    """Folder in the Hub's layout.

    A configuration's files are those that ``README.md`` lists (``configs`` of its front matter); else those in a folder
    with its name, named after their split (``corpus/corpus-00000-of-00001.parquet``, ``qrels/test.tsv``); else a single
    file (``queries.jsonl.gz``).
    """

    root: Path

    def splits(self, config: str) -> Splits:
        """Return the files of each split of a configuration; empty for an unknown configuration."""
        listed = self._listed.get(config)
        if listed is not None:
            by_split = {split: _matching(self.root, patterns) for split, patterns in listed.items()}
            return {split: files for split, files in by_split.items() if files}
        if (self.root / config).is_dir():
            return _by_split(file for file in (self.root / config).rglob("*") if _is_table(file))
        single = next((f for ending in _ENDINGS[:3] if (f := self.root / f"{config}{ending}").is_file()), None)
        return {} if single is None else {config: [single]}

    def root_splits(self) -> Splits:
        """Return the root folder's own files by split, as in BEIR's ``<name>-qrels`` repositories."""
        return self.splits("default") or _by_split(file for file in sorted(self.root.iterdir()) if _is_table(file))

    def table(self, config: str, split: str) -> Source | None:
        """Open the table of documents or queries for a split of the judgements; None without the configuration.

        The table is the configuration's split of the same name (as in NanoBEIR), else the split named like the
        configuration, else the only split.

        Raises
        ------
        InputError
            When there is none of these; the message lists the splits.
        """
        splits = self.splits(config)
        if not splits:
            return None
        chosen = next((name for name in (split, config) if name in splits), None)
        if chosen is None:
            if len(splits) > 1:
                raise InputError(
                    f"{self.root}: cannot choose a split of {config!r} for {split!r}: "
                    f"it has {', '.join(sorted(splits))}"
                )
            chosen = next(iter(splits))
        return joined(splits[chosen], f"{self.root.name}, {config}")

    @cached_property
    def _listed(self) -> Mapping[str, Mapping[str, list[str]]]:
        card = self.root / "README.md"
        return _configurations(card) if card.is_file() else {}


def joined(files: Sequence[Path], description: str) -> Source:
    """Open files as one table."""
    parts = tuple(open_source(file) for file in files)
    return parts[0] if len(parts) == 1 else Joined(parts, description)


def fetch(repository: str) -> Path:
    """Return the local folder of a Hub dataset, downloading the files that the Hub's cache lacks.

    With ``HF_HUB_OFFLINE=1`` only the cache is used.

    Raises
    ------
    InputError
        When the dataset does not exist, or the Hub cannot be reached and the cache has no copy.
    """
    from huggingface_hub import constants, snapshot_download

    patterns = ["README.md", *(f"*{ending}" for ending in _ENDINGS)]
    try:
        return Path(
            snapshot_download(
                repository,
                repo_type="dataset",
                allow_patterns=patterns,
                local_files_only=constants.HF_HUB_OFFLINE,
            )
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(
            f"{repository!r} could not be fetched from the Hub: {reason or type(error).__name__}"
        ) from error


def _configurations(card: Path) -> dict[str, dict[str, list[str]]]:
    import yaml

    matter = _FRONT_MATTER.match(card.read_text("utf-8"))
    try:
        described = yaml.safe_load(matter.group(1)) if matter else None
    except yaml.YAMLError as error:
        raise InputError(f"{card}: the front matter between --- lines is not YAML: {error}") from error
    if not isinstance(described, dict):
        return {}
    return {
        str(config["config_name"]): _patterns(config["data_files"])
        for config in described.get("configs") or ()
        if isinstance(config, dict) and "config_name" in config and config.get("data_files")
    }


def _patterns(data_files: Any) -> dict[str, list[str]]:
    """Return the patterns by split from ``data_files``: one or several patterns, for all splits or by split."""
    if isinstance(data_files, Mapping):
        return {str(split): _listed(patterns) for split, patterns in data_files.items()}
    entries = _listed(data_files)
    if entries and all(isinstance(entry, Mapping) for entry in entries):
        return {str(entry["split"]): _listed(entry["path"]) for entry in entries}
    return {"train": entries}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _matching(root: Path, patterns: Iterable[str]) -> list[Path]:
    return [file for pattern in patterns for file in sorted(root.glob(pattern)) if _is_table(file)]


def _is_table(file: Path) -> bool:
    return file.name.endswith(_ENDINGS) and not file.name.startswith(".") and file.is_file()


def _by_split(files: Iterable[Path]) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for file in sorted(files):
        ending = next(ending for ending in sorted(_ENDINGS, key=len, reverse=True) if file.name.endswith(ending))
        splits.setdefault(_SHARD.sub("", file.name.removesuffix(ending)), []).append(file)
    return {split: _of_one_format(files_of_split) for split, files_of_split in splits.items()}


def _of_one_format(files: Sequence[Path]) -> list[Path]:
    """Keep the files of the preferred format, because converted repositories contain the same table twice."""
    for ending in _ENDINGS:
        if matching := [file for file in files if file.name.endswith(ending)]:
            return matching
    return list(files)
