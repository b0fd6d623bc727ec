"""pydocs: a test collection generated without a download from the docstrings of installed Python packages.

A query is the summary sentence of a docstring, and the rest of the docstring is its one relevant document. Sources
are parsed, never imported. The name of the documented object is in the metadata only: as a title it would repeat the
query.
"""

import ast
import gc
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import re
import sysconfig
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from indexing.disk import write_json
from indexing.errors import SetupError, StorageError
from indexing.inputs import local_path
from indexing.json_text import parse_json
from indexing.permissions import check_output
from indexing.progress import progress
from pipelines.near_duplicates import NearDuplicates

logger = logging.getLogger(__name__)

PACKAGES = {
    "datasets": "datasets",
    "faiss": "faiss-cpu",
    "huggingface_hub": "huggingface-hub",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "qdrant_client": "qdrant-client",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "torch": "torch",
    "tqdm": "tqdm",
    "transformers": "transformers",
}
"""Packages that are read in addition to the standard library: distribution by import name."""

MAX_PAIRS_PER_PACKAGE = 1500
"""Keeps one package from dominating the collection."""

TEST_QUERIES = 1000
NEAR_DUPLICATE = 0.8
"""Jaccard similarity of the sets of words from which two summaries count as equal."""

SUMMARY_WORDS = (4, 40)
"""Minimum and maximum."""
MIN_DOCUMENT_WORDS = 25
MAX_DOCUMENT_CHARS = 1200
"""Longer docstrings are reference pages, and an encoder limited to 256 tokens would read only their beginning."""

_FORMAT = 2
_SKIPPED_FOLDERS = {
    "test",
    "tests",
    "testing",
    "site-packages",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "_vendor",
}
_WORD = re.compile(r"[^\W_]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`'\"(\[])")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|Fig|Eq|No|resp|al|approx)\.$", re.IGNORECASE)
_NO_SUMMARY = re.compile(r"[\w*, ]+\([^)]*\)\s*:|\w+:|>>>|\.\. |Parameters\b|Example")
"""Beginnings of docstrings without a summary, such as parameters or an example."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Pair:
    """Summary and body of a docstring; `name` is the qualified name of the documented object."""

    name: str
    package: str
    summary: str
    body: str


def build_pydocs(folder: str | Path, *, show_progress: bool = True) -> Path:
    """Write the collection to `folder` in BEIR layout, unless it exists for the same package versions.

    The same packages produce the same files, byte for byte. The split ``test`` has 1,000 queries, chosen by a hash of
    their names; ``train`` has the others.

    Parameters
    ----------
    folder
        Written under a temporary name and renamed, so that it never exists in part.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    StorageError
        When `folder` contains something else.
    """
    folder = local_path(folder, "folder").expanduser()
    source = _source()
    if folder.is_dir() and any(folder.iterdir()):
        stored_source = _stored_source(folder)
        if stored_source is None:
            raise StorageError(f"{folder} exists and is not a pydocs collection: use another folder, or remove it")
        if stored_source == source:
            return folder
        logger.info("%s was made from other package versions: generating it again", folder)
    check_output(folder, folder=True)
    pairs = harvest(_roots(), show_progress=show_progress)
    if len(pairs) <= TEST_QUERIES:
        raise SetupError(
            f"only {len(pairs)} docstrings were found: the installed packages have no Python sources to read"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        new = Path(temporary) / "new"
        _write(new, pairs, source)
        if folder.exists():
            folder.rename(Path(temporary) / "replaced")
        new.rename(folder)
    return folder


def harvest(
    roots: Mapping[str, Path], *, max_pairs: int = MAX_PAIRS_PER_PACKAGE, show_progress: bool = False
) -> list[Pair]:
    """Collect pairs, sorted by name, from the Python sources below each package's root.

    The files of a package are read in the order of a hash of their paths until it has `max_pairs` pairs. Dropped:
    summaries and documents that are too short or too long, documents that repeat their summary, duplicate documents,
    and summaries nearly equal to an earlier one.
    """
    pairs: list[Pair] = []
    names: set[str] = set()
    bodies: set[bytes] = set()
    summaries = NearDuplicates(NEAR_DUPLICATE)
    files = {package: _python_files(root) for package, root in sorted(roots.items())}
    bar = progress(
        total=sum(map(len, files.values())), desc="reading docstrings", unit="file", disable=not show_progress
    )
    with bar, _without_garbage_collection():
        for package, paths in files.items():
            before = len(pairs)
            for path in paths:
                bar.update()
                if len(pairs) - before >= max_pairs:
                    continue
                for pair in _pairs(package, roots[package], path):
                    body = _digest(" ".join(_words(pair.body)))
                    if pair.name in names or body in bodies or not summaries.add(_words(pair.summary)):
                        continue
                    names.add(pair.name)
                    bodies.add(body)
                    pairs.append(pair)
            del pairs[before + max_pairs :]
    return sorted(pairs, key=lambda pair: pair.name)


def split_docstring(docstring: str) -> tuple[str, str]:
    """Split a docstring into its summary, the first sentence of its first paragraph, and the rest."""
    paragraph, _, rest = docstring.strip().partition("\n\n")
    paragraph = " ".join(paragraph.split())
    for end in _SENTENCE_END.finditer(paragraph):
        if not _ABBREVIATION.search(paragraph, 0, end.start()):
            return paragraph[: end.start()], f"{paragraph[end.end() :]}\n\n{rest}".strip()
    return paragraph, rest.strip()


def _pairs(package: str, root: Path, path: Path) -> Iterator[Pair]:
    module = [*path.relative_to(root).parts[:-1], path.stem]
    if module[-1] == "__init__":
        module.pop()
    if package != "stdlib":
        module.insert(0, package)
    if not module or not all(part.isidentifier() for part in module):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        logger.debug("%s is not read: %s", path, error)
        return
    for name, docstring in _docstrings(tree, ".".join(module)):
        summary, body = split_docstring(docstring)
        if _is_pair(summary, body):
            yield Pair(name, package, summary, body)


def _docstrings(node: ast.Module | Definition, name: str) -> Iterator[tuple[str, str]]:
    docstring = ast.get_docstring(node)
    if docstring:
        yield name, docstring
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for member in _definitions(node.body):
            if not member.name.startswith("_"):
                yield from _docstrings(member, f"{name}.{member.name}")


def _definitions(statements: Iterable[ast.AST]) -> Iterator[Definition]:
    """Yield the definitions in a body, including those inside ``if``, ``try`` and ``with``."""
    for statement in statements:
        if isinstance(statement, Definition):
            yield statement
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _definitions(ast.iter_child_nodes(statement))


def _is_pair(summary: str, body: str) -> bool:
    words, body_words = _words(summary), _words(body)
    if not SUMMARY_WORDS[0] <= len(words) <= SUMMARY_WORDS[1] or len(body_words) < MIN_DOCUMENT_WORDS:
        return False
    if len(body) > MAX_DOCUMENT_CHARS or _NO_SUMMARY.match(summary):
        return False
    return " ".join(words) not in " ".join(body_words)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: syntax trees have many objects but no cycles (saves a quarter of the time)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _python_files(root: Path) -> list[Path]:
    paths = (path for path in root.rglob("*.py") if not _SKIPPED_FOLDERS.intersection(path.relative_to(root).parts))
    return sorted(paths, key=lambda path: _digest(path.relative_to(root).as_posix()))


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _roots() -> dict[str, Path]:
    roots = {"stdlib": Path(sysconfig.get_path("stdlib"))}
    for package in PACKAGES:
        # Finding the spec of a top-level package does not import it.
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            roots[package] = Path(next(iter(spec.submodule_search_locations)))
    return roots


def _source() -> dict[str, Any]:
    versions = {}
    for distribution in PACKAGES.values():
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"collection": "pydocs", "format": _FORMAT, "python": platform.python_version(), "packages": versions}


def _stored_source(folder: Path) -> dict[str, Any] | None:
    try:
        stored = parse_json((folder / "SOURCE.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(stored, dict) or stored.get("collection") != "pydocs":
        return None
    return {key: stored.get(key) for key in ("collection", "format", "python", "packages")}


def _write(folder: Path, pairs: Sequence[Pair], source: Mapping[str, Any]) -> None:
    qrels = folder / "qrels"
    qrels.mkdir(parents=True)
    _write_lines(
        folder / "corpus.jsonl",
        (
            _json({"_id": p.name, "title": "", "text": p.body, "metadata": {"object": p.name, "package": p.package}})
            for p in pairs
        ),
    )
    _write_lines(folder / "queries.jsonl", (_json({"_id": f"q:{p.name}", "text": p.summary}) for p in pairs))
    # Ordered by hash, so that the first queries are a random sample.
    names = sorted((p.name for p in pairs), key=_digest)
    for split, chosen in (("test", names[:TEST_QUERIES]), ("train", names[TEST_QUERIES:])):
        lines = [f"q:{name}\t{name}\t1" for name in chosen]
        _write_lines(qrels / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *lines])
    write_json(folder / "SOURCE.json", {**source, "documents": len(pairs), "test": TEST_QUERIES})


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
