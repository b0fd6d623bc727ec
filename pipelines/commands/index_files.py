"""``retrieve index`` of people's files: a folder, files or globs, built once and then synchronised."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.commands.command import json_text, positive
from pipelines.commands.index_options import index_parameters, option_of

LONGEST_WATCH = 86_400
"""Maximum number of seconds between two looks at the files."""

if TYPE_CHECKING:
    from indexing.collection.legs import DocumentEncoder
    from indexing.corpora import FilesCorpus
    from pipelines.build.sync import SyncReport


def add_files_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of files."""
    files = parser.add_argument_group("files (CORPUS is a folder, files or globs of documents)")
    files.add_argument(
        "--max-file-size",
        type=positive,
        metavar="BYTES",
        help="largest file that is read; larger ones are reported (100000000)",
    )
    files.add_argument(
        "--reader",
        choices=("own", "kreuzberg"),
        help="what reads PDFs, office files and e-books: own, or the package kreuzberg, which must be installed (own)",
    )
    files.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=2.0,
        metavar="SECONDS",
        help="go on: look for changed files every SECONDS seconds (2) and index them, until Ctrl-C",
    )


def are_files(sources: Sequence[str]) -> bool:
    """Return whether these are people's files, rather than a corpus of records."""
    from indexing.corpora.sources import is_of_records

    return len(sources) > 1 or not is_of_records(sources[0])


def check_files_options(options: argparse.Namespace, *, files: bool) -> None:
    """Raise an `InputError` for an option that does not go with files, or only with them."""
    if not files:
        given = next(
            (name for name in ("max_file_size", "reader", "watch") if getattr(options, name) is not None), None
        )
        if given is not None:
            raise InputError(f"--{given.replace('_', '-')} is for a folder or files of documents, not for a corpus")
        return
    fields = ("id_field", "text_field", "title_field", "config", "split")
    given = next((name for name in fields if getattr(options, name) is not None), None)
    if given is not None:
        raise InputError(f"--{given.replace('_', '-')} is for a corpus of records, not for files of documents")
    if options.engine == "ray" and options.watch is not None:
        raise InputError("--watch does not go with --engine ray, which would start a job at each change")
    if options.watch is not None and options.dry_run:
        raise InputError("--watch does not go with --dry-run")
    if options.watch is not None and not 0 < options.watch <= LONGEST_WATCH:
        raise InputError(f"--watch takes a number of seconds above 0 and up to a day, not {options.watch:g}")
    target = Path(options.to).resolve()
    same = next((source for source in options.corpus if Path(source).resolve() == target), None)
    if same is not None:
        raise InputError(f"--to {options.to} is the folder itself: choose another directory, as in {target.name}.index")


def filter_fields(declared: Sequence[str], *, files: bool) -> dict[str, str]:
    """Return the declared filter fields; those that files have are declared by default."""
    from indexing.corpora import FILES_FIELDS

    fields = dict(FILES_FIELDS) if files else {}
    for field in declared:
        name, colon, kind = field.rpartition(":")
        if not colon:
            raise InputError(f"--filter-field takes NAME:TYPE, as in year:number, not {field!r}")
        fields[name] = kind
    return fields


def files_corpus(options: argparse.Namespace, skipped_to: Path | None) -> "FilesCorpus":
    """Open the files that the command line names."""
    from indexing.corpora import Chunking, read_files
    from indexing.corpora.sources.folder import MOST_FILE_BYTES

    return read_files(
        *options.corpus,
        chunking=Chunking(options.chunk or "markdown", options.chunk_size, options.chunk_overlap),
        most_bytes=options.max_file_size or MOST_FILE_BYTES,
        skipped_to=skipped_to,
        reader=options.reader or "own",
    )


def sync(
    options: argparse.Namespace,
    corpus: "FilesCorpus",
    legs: Mapping[str, bool],
    encoders: "Callable[[], Mapping[str, DocumentEncoder]]",
    quiet: bool,
) -> int:
    """Synchronise the collection with its files, print what was done, and go on with ``--watch``.

    `encoders` returns the encoders of the collection's legs; it is called only if there is something to read.
    """
    from pipelines.build.sync import find_changes, sync_files

    check_same_collection(options, legs)
    if options.dry_run:
        counts = find_changes(corpus, options.to).counts()
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        print(json_text(counts) if options.json else f"{options.to}: {listed} files; nothing was written")
        return 0
    how = _sync_options(options, encoders, quiet)
    _print(options, sync_files(corpus, options.to, **how))
    return 0 if options.watch is None else _watch(options, corpus, how)


def finish_files(
    options: argparse.Namespace, corpus: "FilesCorpus", encoders: "Mapping[str, DocumentEncoder]", quiet: bool
) -> int:
    """Print what was left out of a new collection of files, and go on with ``--watch`` and the build's encoders."""
    from pipelines.build.sync import left_out_text

    if not options.json:
        read = len(corpus.source.read)
        print(f"  {counted(read, 'file')} read" + (f", {corpus.skipped:,} unreadable" if corpus.skipped else ""))
        if corpus.source.left_out:
            print(f"  left out: {left_out_text(corpus.source.left_out)}")
    return 0 if options.watch is None else _watch(options, corpus, _sync_options(options, lambda: encoders, quiet))


def _watch(options: argparse.Namespace, corpus: "FilesCorpus", how: Mapping[str, Any]) -> int:
    """Synchronise whenever files change, until Ctrl-C."""
    from pipelines.build.sync import watch_files

    if not options.json:
        print(f"watching {corpus.description} every {options.watch:g} s; Ctrl-C ends it", flush=True)
    try:
        for report in watch_files(corpus, options.to, seconds=options.watch, **how):
            _print(options, report)
    except KeyboardInterrupt:
        print("\nstopped watching; run the same command again to go on", file=sys.stderr)
    return 0


def _sync_options(
    options: argparse.Namespace, encoders: "Callable[[], Mapping[str, DocumentEncoder]]", quiet: bool
) -> dict[str, Any]:
    """Return the keyword arguments of `sync_files`."""
    return {"encoders": encoders, "remove_missing": options.remove_missing, "show_progress": not quiet}


def _print(options: argparse.Namespace, report: "SyncReport") -> None:
    print(json_text(report.as_dict()) if options.json else report, flush=True)


def check_same_collection(options: argparse.Namespace, legs: Mapping[str, bool]) -> None:
    """Raise an `InputError` if the command names legs, fields or indexes that the collection has otherwise or lacks.

    With ``--update`` the legs are those of the collection, and only ``--no-bm25`` and ``--no-dense`` can contradict.
    """
    from indexing.collection.manifest import read_manifest

    manifest = read_manifest(Path(options.to))
    stored = manifest.legs
    lacking = next((name for name, wanted in legs.items() if wanted and name not in stored), None)
    if lacking is not None and not options.update:
        raise InputError(f"{options.to} has no leg {lacking!r}: {_WITHOUT[lacking]}, or build it anew (--overwrite)")
    kept = next((name for name in ("bm25", "dense") if not legs[name] and name in stored), None)
    if kept is not None:
        raise InputError(
            f"{options.to} has a leg {kept!r}, which is kept: leave --no-{kept} out, or build it anew (--overwrite)"
        )
    for name, value in index_parameters(options).items():
        if name != "server" and all(leg.parameters.get(name) != value for leg in stored.values()):
            raise _differs(option_of(name), options.to)
    if not filter_fields(options.filter_field, files=False).items() <= dict(manifest.fields).items():
        raise _differs("--filter-field", options.to)
    of_leg = {"sparse": "sparse", "bm25": "bm25", "dense": "dense", "tokens": "late_interaction"}
    for name, option in of_leg.items():
        backend = getattr(options, f"{option}_backend")
        if backend is not None and name in stored and stored[name].backend != backend:
            raise _differs(f"--{option.replace('_', '-')}-backend", options.to)
    for leg, option, parameter in _STORED_AS:
        value = getattr(options, option)
        if value is None or leg not in stored:
            continue
        if {**(stored[leg].encoder or {}), **stored[leg].parameters}.get(parameter) != value:
            raise _differs(f"--{option.replace('_', '-')}", options.to)


_WITHOUT = {
    "bm25": "add --no-bm25",
    "dense": "add --no-dense",
    "sparse": "leave --sparse out",
    "tokens": "leave --late-interaction out",
}
"""How a command names no such leg."""

_STORED_AS = (
    ("bm25", "analyzer", "analyzer"),
    ("bm25", "bm25_fields", "weights"),
    ("dense", "dense_dim", "dimension"),
    ("tokens", "late_interaction_dim", "dimension"),
    ("tokens", "late_interaction_pool_factor", "pool_factor"),
)
"""Leg, attribute of the option, and the parameter of the leg or of its encoder that it sets."""


def _differs(option: str, path: str) -> InputError:
    return InputError(
        f"{option} differs from {path}: leave it out, change the index with `retrieve reindex`, or build it anew "
        "(--overwrite)"
    )
