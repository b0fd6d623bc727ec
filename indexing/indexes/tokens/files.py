"""Files of a token index: ``settings.json`` names the segments, ids and codebook in use, and is replaced last.

A crash at any time leaves the old state or the new one. Files that ``settings.json`` does not name are removed by the
next writer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from indexing.disk import load_strings
from indexing.errors import InputError, StorageError
from indexing.hits import StringArray
from indexing.indexes import settings_json
from indexing.indexes.names import TOKEN_METRICS
from indexing.indexes.settings_json import read_settings_json, write_settings_json
from indexing.indexes.tokens.codebook import CODES_ONLY, FULL, STEPS, Codebook
from indexing.indexes.tokens.segment import PARTS, Segment
from indexing.plurals import counted

ENGINE = "Tokens"
FILE_NAMES = rf"settings\.json|ids-\d+\.npz|codebook-\d+\.npz|segment-\d+\.({'|'.join(PARTS)})\.npy"
BITS = (CODES_ONLY, *STEPS, FULL)


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Settings of a token index.

    Parameters
    ----------
    dimension
        Length of a vector.
    metric
        ``"maxsim"``, or ``"meanmaxsim"``, which divides a score by the number of the query's vectors.
    bits
        Bits a dimension once centroids are learned: 2, 4, 8, or 16 for float16. Scores are those of the kept vectors.
        0 keeps no vectors, and reads them from the rows that a collection stores.
    train_at
        Number of documents from which centroids are learned. With fewer every document is compared.
    centroids
        Number of centroids; 0 for the power of two next to ``4 * sqrt(vectors)``.
    nprobe
        Centroids whose documents a query vector finds.
    candidates
        Documents whose full score is computed for a query, or `DEEPER` times the wanted hits if these are more: the
        best of `SHORTLIST` times as many by their centroids.
    """

    dimension: int
    metric: str = TOKEN_METRICS[0]
    bits: int = 8
    train_at: int = 20_000
    centroids: int = 0
    nprobe: int = 8
    candidates: int = 256

    def __post_init__(self) -> None:
        if self.metric not in TOKEN_METRICS:
            raise InputError(f"metric must be {' or '.join(TOKEN_METRICS)}, not {self.metric!r}")
        if self.bits not in BITS:
            raise InputError(f"bits must be one of {', '.join(map(str, BITS))}, not {self.bits!r}")
        for name in ("dimension", "train_at", "nprobe", "candidates"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number from 1, not {value!r}")
        if not isinstance(self.centroids, int) or self.centroids < 0:
            raise InputError(f"centroids must be a whole number from 0, not {self.centroids!r}")


@dataclass(frozen=True, slots=True)
class Stored:
    """Contents of ``settings.json``: the numbers of the files in use, 0 for none, and the `last` one of a segment."""

    settings: TokenSettings
    ids: int = 0
    codebook: int = 0
    segments: Sequence[int] = field(default_factory=tuple)
    sequence: int = 0
    last: int = 0


def read_settings(path: Path) -> Stored:
    """Read ``settings.json`` of the index in this folder; errors as in `read_settings_json`."""
    return read_settings_json(
        path,
        ENGINE,
        lambda content: Stored(
            TokenSettings(**content["settings"]),
            int(content["ids"]),
            int(content["codebook"]),
            tuple(map(int, content["segments"])),
            int(content["sequence"]),
            int(content.get("last", 0)),
        ),
    )


def write_settings(path: Path, stored: Stored, count: int) -> None:
    """Replace ``settings.json`` atomically."""
    write_settings_json(path, ENGINE, {"count": count} | asdict(stored))


def read_newest(path: Path) -> tuple[Stored, StringArray, Codebook | None, list[Segment]]:
    """Map the index into memory, also while a writer replaces files.

    Raises
    ------
    StorageError
        When there is no index, or it is damaged.
    """
    stored, (ids, book, segments) = settings_json.read_newest(path, ENGINE, read_settings, _read)
    return stored, ids, book, segments


def remove_unnamed(path: Path, stored: Stored) -> None:
    """Remove the index's files that `stored` does not name."""
    named = {ids_file(path, stored.ids).name, codebook_file(path, stored.codebook).name}
    named |= {f"segment-{number}.{part}.npy" for number in stored.segments for part in PARTS}
    settings_json.remove_unnamed(path, named, FILE_NAMES)


def ids_file(path: Path, number: int) -> Path:
    """Return the path of the ids of this number."""
    return path / f"ids-{number}.npz"


def codebook_file(path: Path, number: int) -> Path:
    """Return the path of the codebook of this number."""
    return path / f"codebook-{number}.npz"


def _read(path: Path, stored: Stored) -> tuple[StringArray, Codebook | None, list[Segment]]:
    book = Codebook.load(codebook_file(path, stored.codebook)) if stored.codebook else None
    segments = [Segment.load(path, number) for number in stored.segments]
    try:
        ids = load_strings(ids_file(path, stored.ids)) if stored.ids else load_no_strings()
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise StorageError(
            f"{ids_file(path, stored.ids)} is damaged ({type(error).__name__}: {error}): build the index again"
        ) from error
    documents = sum(segment.documents for segment in segments)
    if documents != len(ids):
        raise StorageError(
            f"the token index {path} is damaged: {counted(documents, 'document')} for {counted(len(ids), 'id')}"
        )
    width = book.width if book else stored.settings.dimension if stored.settings.bits else 0
    for segment in segments:
        if segment.stored.ndim != 2 or segment.stored.shape[1] != width:
            raise StorageError(
                f"the token index {path} is damaged: segment {segment.number} has vectors of {segment.stored.shape}"
            )
    return ids, book, segments


def load_no_strings() -> StringArray:
    """Return no ids."""
    from indexing.hits import string_array

    return string_array([])
