"""Files: a folder, files and globs as a source of documents, with the rules of what is read."""

import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from indexing.corpora.sources.formats import Reader, check_reader, extract, is_known
from indexing.corpora.sources.ignore_rules import is_ignored, rules_above, rules_of
from indexing.corpora.sources.records import Record
from indexing.errors import InputError
from indexing.inputs import local_path, shown, whole_number
from indexing.plurals import counted

MOST_FILE_BYTES = 100_000_000
"""Maximum size of a file by default; larger ones are reported."""
DEEPEST_FOLDER = 100
"""Maximum depth of folders."""
FILES_FIELDS = {
    "path": "keyword",
    "format": "keyword",
    "title": "keyword",
    "heading": "keyword",
    "language": "keyword",
    "page": "number",
    "size": "number",
    "modified": "date",
}
"""The metadata of documents from files, with the types to declare them as filter fields."""
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that is read.

    Parameters
    ----------
    path
        Path of the file.
    size, modified
        Its size in bytes, and its time of modification as in the metadata field ``modified``.
    """

    path: Path
    size: int
    modified: str


def has_glob(source: str | Path) -> bool:
    """Return whether a path contains ``*``, ``?`` or ``[``."""
    return not _GLOB.isdisjoint(str(source))


class Files:
    """Files of people, each a document; create it with `indexing.corpora.files.read_files`.

    A folder is walked without following links. Left out are hidden files, files that a ``.gitignore`` excludes, and
    collections. A file that a caller names is read whatever its name is.

    Parameters
    ----------
    sources
        Folders, files, and globs as in ``docs/**/*.md``.
    most_bytes
        Maximum size of a file.
    reader
        Reader of PDFs, office files and e-books.

    Attributes
    ----------
    entries
        The files found, by id: the path relative to the folder, or to the common folder of several sources.
    problems
        Files and folders that were found and cannot be read: the reason by path.
    left_out
        Numbers of files that are left out without being a problem, by reason.
    unchanged
        Ids of the files that need not be read again; set by a caller.
    unread
        The files that the last pass could not make sense of: size, time of modification and reason by id. A pass does
        not read them again until they change; a caller sets what an earlier pass found.
    read
        Ids of the files that the last pass read, also of those without text.
    """

    unit = "part"
    typed = True

    def __init__(
        self, sources: Sequence[str | Path], *, most_bytes: int = MOST_FILE_BYTES, reader: Reader = "own"
    ) -> None:
        if not sources:
            raise InputError("name at least one folder or file")
        for source in sources:
            if not isinstance(source, str | Path) or not str(source):
                raise InputError(f"a source must be the path of a folder or file, or a glob, not {shown(source)}")
        self.sources = [local_path(source, "source").expanduser() for source in sources]
        self.most_bytes, self.reader = whole_number(most_bytes, "most_bytes"), check_reader(reader)
        self.unchanged: Collection[str] = ()
        self.unread: dict[str, list[Any]] = {}
        self.read: set[str] = set()
        self.scan()

    @property
    def description(self) -> str:
        """The sources, for messages."""
        return ", ".join(map(str, self.sources[:3])) + (", …" if len(self.sources) > 3 else "")

    def scan(self) -> None:
        """Find the files; nothing but folders, their rules and the state of each file is read.

        Raises
        ------
        InputError
            For a source that does not exist, or a glob that matches nothing.
        """
        self.entries: dict[str, Entry] = {}
        self.problems: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()
        found = [self._expanded(source) for source in self.sources]
        self.root = _common_folder(self.sources)
        self._real_root = Path(os.path.realpath(self.root))
        for source, paths in zip(self.sources, found, strict=True):
            for path in paths:
                if path.is_dir():
                    _walk(self, path)
                elif not has_glob(source) or path.is_file():
                    self.add(path, named=not has_glob(source))

    def records(self) -> Iterator[Record]:
        """Read each file that is not in `unchanged`, in the order of ids; what cannot be read is a problem."""
        self.read, known, self.unread = set(), self.unread, {}
        for path, reason in self.problems.items():
            yield Record(path, 1, {}, reason, path)
        for name, entry in sorted(self.entries.items()):
            if name not in self.unchanged:
                yield self._record(name, entry, known.get(name, ()))

    def is_unread(self, name: str) -> bool:
        """Return whether a file is unchanged since a pass could not make sense of it."""
        entry = self.entries[name]
        return self.unread.get(name, ())[:2] == [entry.size, entry.modified]

    def _record(self, name: str, entry: Entry, known: Sequence[Any]) -> Record:
        where, state = str(entry.path), [entry.size, entry.modified]
        values: Mapping[str, Any] = {}
        if list(known[:2]) == state:
            reason = str(known[2])
        else:
            try:
                data = _content(entry, self.most_bytes)
            except InputError as problem:  # no property of the content: the next pass tries again
                return Record(where, 1, {}, str(problem), where)
            try:
                values = _values(name, entry, data, self.reader)
            except InputError as problem:
                reason = str(problem)
            else:
                self.read.add(name)
                reason = "" if values else "contains no text"
        if reason:
            self.unread[name] = [*state, reason]
        return Record(where, 1, values, reason, where)

    def count(self) -> int | None:
        """Return None: a file has any number of chunks."""
        return None

    def fingerprint(self) -> str:
        """Return a digest of the files' names, sizes and times of modification."""
        lines = (f"{name}\0{entry.size}\0{entry.modified}\n" for name, entry in sorted(self.entries.items()))
        return hashlib.sha256("".join(lines).encode("utf-8", "replace")).hexdigest()

    def add(self, path: Path, *, named: bool) -> None:
        """Add a file that was found, or the reason why it is not read.

        Parameters
        ----------
        path
            Path of the file.
        named
            A caller named it, so it is read whatever its name is, and a link is followed.
        """
        try:
            state = path.stat() if named else path.lstat()
        except OSError as error:
            self.problems[_shown(path)] = f"cannot be read: {_reason(error)}"
            return
        if stat.S_ISLNK(state.st_mode):
            self._add_link(path)
        elif not stat.S_ISREG(state.st_mode):
            self.problems[_shown(path)] = "is not a regular file"
        elif not named and not is_known(path.name, self.reader):
            self.left_out[f"other format ({path.suffix.lower() or 'no extension'})"] += 1
        elif state.st_size > self.most_bytes:
            self.problems[_shown(path)] = (
                f"has {counted(state.st_size, 'byte')}, over {self.most_bytes:,}: split it, or raise --max-file-size"
            )
        else:
            name = PurePath(os.path.relpath(path, self.root)).as_posix()
            if name.encode("utf-8", "surrogateescape") != name.encode("utf-8", "replace"):
                self.problems[_shown(path)] = "has a name that is not UTF-8: rename it"
                return
            moment = datetime.fromtimestamp(state.st_mtime_ns // 1_000_000 / 1000, UTC)
            self.entries[name] = Entry(
                path, state.st_size, f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
            )

    def _add_link(self, path: Path) -> None:
        try:
            target = Path(os.path.realpath(path, strict=True))
        except (OSError, RuntimeError) as error:
            loop = isinstance(error, RuntimeError) or error.errno == errno.ELOOP
            self.problems[_shown(path)] = "is a link in a loop" if loop else "is a link to nothing"
            return
        if not target.is_relative_to(self._real_root):
            self.problems[_shown(path)] = "is a link out of the folder: name its target to index it"
        elif target.is_dir() and Path(os.path.realpath(path.parent)).is_relative_to(target):
            self.problems[_shown(path)] = "is a link in a loop"
        else:
            self.left_out["link to another place in the folder"] += 1

    def _expanded(self, source: Path) -> list[Path]:
        if source.exists() or source.is_symlink() or not has_glob(source):
            if not source.exists():
                raise InputError(f"{source} does not exist: pass a folder, a file or a glob")
            return [source]
        base = _fixed_part(source)
        pattern = str(source.relative_to(base))
        try:
            found = sorted(path for path in base.glob(pattern) if not _is_hidden(path.relative_to(base)))
        except (ValueError, OSError) as error:
            raise InputError(f"{source} is not a usable glob: {error}") from None
        if not found:
            raise InputError(f"{source} matches no file")
        return found


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Some of the files of a source, which can be read independently, also on other machines.

    Parameters
    ----------
    entries
        The files by id, with absolute paths.
    most_bytes, reader
        As in `Files`.
    """

    entries: tuple[tuple[str, Entry], ...]
    most_bytes: int
    reader: Reader

    def records(self) -> Iterator[Record]:
        """Read each file; what cannot be read is a problem."""
        for name, entry in self.entries:
            values: Mapping[str, Any] = {}
            try:
                values = _values(name, entry, _content(entry, self.most_bytes), self.reader)
                problem = "" if values else "contains no text"
            except InputError as error:
                problem = str(error)
            yield Record(str(entry.path), 1, values, problem, str(entry.path))


def group_files(files: Files, size: int) -> list[FileGroup]:
    """Split the files that the next pass reads into groups of about `size` bytes, in the order of ids."""
    groups: list[list[tuple[str, Entry]]] = []
    room = 0
    for name, entry in sorted(files.entries.items()):
        if name in files.unchanged or files.is_unread(name):
            continue
        if not groups or entry.size > room:
            groups.append([])
            room = size
        groups[-1].append((name, replace(entry, path=entry.path.absolute())))
        room -= entry.size
    return [FileGroup(tuple(group), files.most_bytes, files.reader) for group in groups]


def _values(name: str, entry: Entry, data: bytes, reader: Reader) -> Mapping[str, Any]:
    """Return the record of one file; empty if it has no text."""
    extracted = extract(data, name, by=reader)
    if not extracted.text.strip():
        return {}
    title = extracted.title or PurePath(name).stem
    if extracted.format == "code":
        title = PurePath(name).name
    metadata = {
        "path": name,
        "format": extracted.format,
        "title": title,
        "modified": entry.modified,
        "size": entry.size,
        **({"language": extracted.language} if extracted.language else {}),
    }
    return {"_id": name, "text": extracted.text, "title": title, "metadata": metadata}


def _walk(files: Files, folder: Path) -> None:
    """Add all files of a folder that are read."""
    stack = [(folder, rules_above(folder), 0)]
    while stack:
        folder, rules, depth = stack.pop()
        try:
            with os.scandir(folder) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            files.problems[_shown(folder)] = f"cannot be read: {_reason(error)}"
            continue
        names = {entry.name for entry in found}
        if {"manifest.json", "documents.sqlite"} <= names:
            files.left_out["collection"] += 1
            continue
        if ".gitignore" in names and (own := rules_of(folder)) is not None:
            rules = [*rules, own]
        real = os.path.realpath(folder) if rules else ""
        for entry in found:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith("."):
                files.left_out["hidden"] += 1
            elif is_ignored(rules, real, entry.name, is_folder):
                files.left_out["excluded by .gitignore"] += 1
            elif not is_folder:
                files.add(Path(entry.path), named=False)
            elif depth == DEEPEST_FOLDER:
                files.problems[_shown(Path(entry.path))] = f"is more than {DEEPEST_FOLDER} folders deep"
            else:
                stack.append((Path(entry.path), rules, depth + 1))


def _content(entry: Entry, most: int) -> bytes:
    """Read a file, unless it has become a link, a pipe or too large since it was found."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for its writer.
        number = os.open(entry.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(number, "rb") as stream:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise InputError("is not a regular file")
            data = stream.read(most + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {_reason(error)}") from None
    if len(data) > most:
        raise InputError(f"has more than {counted(most, 'byte')}: raise the limit (--max-file-size) or split it")
    return data


def _common_folder(sources: Sequence[Path]) -> Path:
    """Return the folder that ids are relative to."""
    if len(sources) == 1 and sources[0].is_dir():
        return sources[0]
    folders = [_fixed_part(source) if has_glob(source) and not source.exists() else source.parent for source in sources]
    try:
        return Path(os.path.commonpath([folder.absolute() for folder in folders]))
    except ValueError:
        raise InputError("the sources have no common folder: index them into several collections") from None


def _fixed_part(pattern: Path) -> Path:
    """Return the folder of a glob before its first part with a wildcard."""
    fixed: list[str] = []
    for part in pattern.parts:
        if has_glob(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
