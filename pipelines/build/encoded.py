"""Files of encoded texts, written on any machine and looked up by text.

A file is an ``.npz`` without pickle (a zip, so each array has a CRC-32) with a digest of each text, and the vectors,
the term weights as CSR, or the token vectors with their offsets. Its name is a digest of the encoder's identity and of
the texts.
"""

import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse, vstack

from indexing.collection.identity import RECORDED_ONLY
from indexing.disk import sync
from indexing.errors import StorageError
from indexing.token_vectors import TokenVectors

DIGEST_BYTES = 16
OPEN_FILES = 2
"""Number of files whose rows stay in memory; a corpus that is read in order needs one after another."""


def text_digests(texts: Sequence[str]) -> NDArray[np.void]:
    """Return a digest of each text (BLAKE2b, 128 bits), as bytes that compare and sort."""
    joined = b"".join(hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts)
    return np.frombuffer(joined, dtype=f"V{DIGEST_BYTES}")


def file_name(identity: Mapping[str, Any], digests: NDArray[np.void]) -> str:
    """Return the name of the file of these texts, encoded by this encoder in its precision."""
    compared = {key: value for key, value in identity.items() if key == "dtype" or key not in RECORDED_ONLY}
    content = hashlib.sha256(json.dumps(compared, sort_keys=True).encode())
    content.update(digests.tobytes())
    return f"{content.hexdigest()[:40]}.npz"


def write_encoded(path: Path, digests: NDArray[np.void], rows: Any) -> None:
    """Write rows, vectors [n, dimension], CSR [n, columns] or `TokenVectors`, with the digests of their texts [n].

    The write is atomic, also when several processes write the same file; partial files of killed ones are removed.
    """
    arrays: dict[str, Any] = {"digests": np.frombuffer(digests.tobytes(), np.uint8).reshape(-1, DIGEST_BYTES)}
    if issparse(rows):
        matrix: csr_matrix = csr_matrix(rows)  # type: ignore[call-overload]
        arrays |= {"indptr": matrix.indptr, "indices": matrix.indices, "data": matrix.data}
        arrays["shape"] = np.array(matrix.shape)
    elif isinstance(rows, TokenVectors):
        arrays |= {"offsets": rows.offsets, "vectors": rows.vectors}
    else:
        arrays["vectors"] = np.asarray(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        _rename(partial, path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}): free some disk space and run it again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        leftover.unlink(missing_ok=True)
    sync(path.parent)


def read_rows(path: Path) -> Any:
    """Read the rows of a file that `write_encoded` wrote; raise a `StorageError` if it is damaged."""
    arrays = _arrays(path, ("vectors", "offsets", "indptr", "indices", "data", "shape"))
    if "offsets" in arrays:
        return TokenVectors(arrays["offsets"], arrays["vectors"])
    if "vectors" in arrays:
        return arrays["vectors"]
    return csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))


def is_intact(path: Path) -> bool:
    """Return whether a file exists and is undamaged."""
    try:
        read_digests(path)
        read_rows(path)
    except StorageError:
        return False
    return True


def read_digests(path: Path) -> NDArray[np.void]:
    """Read the digests of a file's texts; raise a `StorageError` if it is damaged."""
    stored = _arrays(path, ("digests",))["digests"]
    return np.frombuffer(stored.tobytes(), dtype=f"V{DIGEST_BYTES}")


class EncodedTexts:
    """Substitute for a document encoder, which looks up the rows of texts in files.

    Parameters
    ----------
    identity
        Identity of the encoder.
    files
        Files that `write_encoded` wrote with that encoder. 24 bytes per text stay in memory.
    """

    def __init__(self, identity: Mapping[str, Any], files: Sequence[Path]) -> None:
        self.identity = identity
        self.files = files
        digests = [read_digests(file) for file in files]
        counts = [len(part) for part in digests]
        joined = np.concatenate(digests) if digests else text_digests([])
        order = np.argsort(joined, kind="stable")
        self._digests = joined[order]
        self._file = np.repeat(np.arange(len(files), dtype=np.int32), counts)[order]
        rows = (
            np.concatenate([np.arange(count, dtype=np.int32) for count in counts]) if counts else np.zeros(0, np.int32)
        )
        self._row = rows[order]
        self._read = lru_cache(maxsize=OPEN_FILES)(read_rows)

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Return vectors ``float32 [n, dimension]``, term weights as CSR ``[n, vocabulary]``, or `TokenVectors`.

        Raises
        ------
        StorageError
            For a text that no file contains, or a damaged file.
        """
        wanted = text_digests(texts)
        positions = np.minimum(np.searchsorted(self._digests, wanted), max(len(self._digests) - 1, 0))
        found = self._digests[positions] == wanted if len(self._digests) else np.zeros(len(wanted), bool)
        if not found.all():
            text = texts[int(np.argmin(found))]
            raise StorageError(
                f"no encoded file contains the text that begins {text[:60]!r}: the corpus has changed since it was "
                "encoded. Run the job again: it encodes only what changed"
            )
        files, rows = self._file[positions], self._row[positions]
        order = np.argsort(files, kind="stable")
        parts = [_taken(self._read(self.files[file]), rows[files == file]) for file in np.unique(files)]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        if isinstance(parts[0], TokenVectors):
            return TokenVectors.join(parts).take(back)
        stacked = vstack(parts, format="csr") if issparse(parts[0]) else np.concatenate(parts)
        return stacked[back]


def _taken(rows: Any, positions: NDArray[np.integer]) -> Any:
    return rows.take(positions) if isinstance(rows, TokenVectors) else rows[positions]


def _rename(partial: Path, path: Path) -> None:
    try:
        partial.replace(path)
    except FileNotFoundError:
        # Another process wrote the same file and removed this one's partial file.
        if not path.exists():
            raise


def _arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names if name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"{path} is missing or damaged ({error}): run the job again, which writes a new one"
        ) from error
