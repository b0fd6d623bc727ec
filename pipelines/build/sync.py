"""Synchronisation of a collection with people's files: only what changed is read and encoded."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexing.collection.legs import DocumentEncoder
from indexing.collection.manifest import read_manifest
from indexing.collection.store import DocumentStore
from indexing.corpora import FilesCorpus
from indexing.errors import InputError, StorageError
from indexing.inputs import flag, local_path
from indexing.plurals import counted
from pipelines.build.job import update_collection
from pipelines.build.report import BuildReport


@dataclass(frozen=True, slots=True)
class Changes:
    """Difference between files and the collection that was built from them, by id.

    Parameters
    ----------
    new, changed, unchanged
        Files that the collection lacks, that it holds in another version, and that it holds.
    renamed
        Of the new files those that were moved: their former id, which is also among `missing`.
    missing
        Files that the collection holds and that are gone.
    unread
        Files that could not be read before and are unchanged.
    """

    new: frozenset[str]
    changed: frozenset[str]
    unchanged: frozenset[str]
    renamed: Mapping[str, str]
    missing: frozenset[str]
    unread: frozenset[str]

    def counts(self) -> dict[str, int]:
        """Return numbers of files; a renamed one counts as neither new nor gone."""
        renamed = len(self.renamed)
        return {
            "new": len(self.new) - renamed,
            "changed": len(self.changed),
            "renamed": renamed,
            "gone": len(self.missing) - renamed,
            "unchanged": len(self.unchanged),
        }


@dataclass(frozen=True, slots=True)
class SyncReport:
    """Report of a synchronisation.

    Parameters
    ----------
    path
        The collection.
    new, changed, renamed, removed, missing, unchanged
        Numbers of files: without the renamed ones in `new`; removed from the collection, or gone and still in it.
    unreadable
        Number of files that cannot be read.
    left_out
        Numbers of files that are not meant to be read, by reason.
    update
        The update of the collection; None if nothing changed.
    """

    path: Path
    new: int
    changed: int
    renamed: int
    removed: int
    missing: int
    unchanged: int
    unreadable: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    update: BuildReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        counts = ("new", "changed", "renamed", "removed", "missing", "unchanged", "unreadable")
        files = {name: getattr(self, name) for name in counts} | {"left_out": dict(self.left_out)}
        return {"path": str(self.path), "files": files, "update": self.update and self.update.as_dict()}

    def __str__(self) -> str:
        parts = [f"{self.new:,} new", f"{self.changed:,} changed"]
        parts += [f"{count:,} {name}" for name in ("renamed", "removed") if (count := getattr(self, name))]
        parts += [f"{self.unchanged:,} unchanged"]
        parts += [f"{self.unreadable:,} unreadable"] if self.unreadable else []
        lines = [f"{self.path}: {', '.join(parts)} files" + ("" if self.update else "; nothing to do")]
        if self.missing:
            lines.append(f"  {counted(self.missing, 'file')} no longer there: --remove-missing removes what is gone")
        if self.left_out:
            lines.append(f"  left out: {left_out_text(self.left_out)}")
        return "\n".join([*lines, *([f"  {self.update}"] if self.update else [])])


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Return the numbers of files that are left out, the most frequent reasons first."""
    ranked = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count:,} {reason}" for reason, count in ranked[:8]]
    return ", ".join([*shown, *([f"{len(ranked) - 8} other reasons"] if len(ranked) > 8 else [])])


def is_of_files(path: str | Path) -> bool:
    """Return whether there is a collection at `path` that was built from files."""
    try:
        return bool((read_manifest(local_path(path, "path")).corpus.get("reading") or {}).get("files"))
    except (StorageError, AttributeError):
        return False


def find_changes(corpus: FilesCorpus, path: str | Path) -> Changes:
    """Compare files with a collection by size and time of modification, without reading them.

    Raises
    ------
    InputError
        When the collection was not built from files, or with another chunking.
    """
    manifest = read_manifest(local_path(path, "path"))
    if (reading := manifest.corpus.get("reading") or {}) != corpus.reading():
        how = "not from files" if not reading.get("files") else f"with other chunks ({_options_of(reading)})"
        if reading.get("reader") != corpus.reading().get("reader"):
            how = f"with the reader {reading.get('reader', 'own')} (--reader)"
        raise InputError(f"{path} was built {how}: repeat its options, or build it anew (--overwrite)")
    with DocumentStore.open(Path(path) / "documents.sqlite", read_only=True) as store:
        stored = _complete(store)
    files = corpus.source
    unread = manifest.corpus.get("unread")
    files.unread = {name: list(state) for name, state in unread.items()} if isinstance(unread, dict) else {}
    states = {name: (entry.size, entry.modified) for name, entry in files.entries.items()}
    known = frozenset(name for name in states if files.is_unread(name))
    new = frozenset(states.keys() - stored.keys() - known)
    changed = frozenset(name for name, state in states.items() if name in stored and stored[name] != state) - known
    missing = frozenset(stored.keys() - states.keys())
    by_state: dict[Any, list[str]] = {}
    for name in sorted(missing):
        by_state.setdefault(stored[name], []).append(name)
    renamed = {name: former.pop(0) for name in sorted(new) if (former := by_state.get(states[name]))}
    return Changes(new, changed, frozenset(states.keys() & stored.keys()) - changed, renamed, missing, known)


def _options_of(reading: Mapping[str, Any]) -> str:
    """Return the options that make the chunks of a collection."""
    stored = reading.get("chunking") or {}
    options = {"by": "--chunk", "size": "--chunk-size", "overlap": "--chunk-overlap"}
    return " ".join(f"{option} {stored.get(name)}" for name, option in options.items())


def sync_files(
    corpus: FilesCorpus,
    path: str | Path,
    *,
    encoders: Callable[[], Mapping[str, DocumentEncoder]],
    remove_missing: bool = False,
    show_progress: bool = True,
) -> SyncReport:
    """Update a collection that was built from files: new and changed files are read, and only new texts encoded.

    A file that can no longer be read keeps what the collection has of it. A renamed file is not encoded again unless
    its title is its name. To resume a synchronisation that was killed, call it again.

    Parameters
    ----------
    corpus
        The files, as `read_files` returns them, with the chunking that the collection was built with.
    path
        The collection.
    encoders
        Returns the encoder of each leg that has one; called only if there is something to read.
    remove_missing
        Delete what the collection has of files that are gone. A renamed file is then found at its new place only.
    show_progress
        Show a progress bar on stderr.

    Raises
    ------
    InputError
        As for `find_changes`.
    """
    remove_missing = flag(remove_missing, "remove_missing")
    corpus.source.scan()
    changes = find_changes(corpus, path)
    update = None
    if changes.new or changes.changed or (remove_missing and changes.missing):
        corpus.source.unchanged = changes.unchanged - changes.unread
        corpus.moved, corpus.is_partial = changes.renamed, True
        loaded = {} if corpus.reads_nothing else encoders()
        update = update_collection(corpus, path, encoders=loaded, remove=remove_missing, show_progress=show_progress)
    counts = changes.counts()
    return SyncReport(
        path=Path(path),
        new=counts["new"],
        changed=counts["changed"],
        renamed=counts["renamed"],
        removed=counts["gone"] if remove_missing else 0,
        missing=0 if remove_missing else len(changes.missing),
        unchanged=counts["unchanged"],
        unreadable=corpus.skipped if update else len(corpus.source.problems) + len(changes.unread),
        left_out=dict(corpus.source.left_out),
        update=update,
    )


def watch_files(corpus: FilesCorpus, path: str | Path, *, seconds: float = 2.0, **options: Any) -> Iterator[SyncReport]:
    """Synchronise again and again, and yield a report of each time that something changed.

    Files that still change are left until they have been quiet for `seconds`.

    Parameters
    ----------
    corpus, path, **options
        As for `sync_files`.
    seconds
        Time between two looks at the files.
    """
    last = seen = None
    while True:
        corpus.source.scan()
        state = corpus.fingerprint()
        if state == seen and state != last:
            report = sync_files(corpus, path, **options)
            last = corpus.fingerprint()
            if report.update is not None or report.missing:
                yield report
        seen = state
        time.sleep(seconds)


def _complete(store: DocumentStore) -> dict[str, tuple[int, str]]:
    """Return the size and time of modification of each file of which the collection holds every chunk in one version.

    A file whose update was interrupted has chunks of two versions, or too few. It counts as another version.
    """
    found: dict[str, tuple[int, str, int]] = {}
    counts: Counter[str] = Counter()
    mixed: set[str] = set()
    for parent, size, modified, of in store.metadata_values("$.parent_id", "$.size", "$.modified", "$.chunk.of"):
        name, version = str(parent), (size, modified, of)
        counts[name] += 1
        if found.setdefault(name, version) != version:
            mixed.add(name)
    return {
        name: (-1, "") if name in mixed or counts[name] != of else (size, modified)
        for name, (size, modified, of) in found.items()
    }
