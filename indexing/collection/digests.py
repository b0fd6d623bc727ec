"""Digests of documents, which tell an unchanged document from a changed one."""

import json
from hashlib import blake2b

from indexing.documents import Document
from indexing.errors import InputError
from indexing.json_text import DEEPEST, depth
from indexing.plurals import counted

LONGEST_TEXT = 1 << 27
"""Maximum number of characters of a document: SQLite stores at most a billion bytes, and a search reads them whole."""
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def digest_of(title: str, text: str, metadata: str) -> bytes:
    """Return the digest of a document's parts, its metadata as `metadata_json` writes them."""
    digest = blake2b(f"{len(title)} {len(text)} ".encode(), digest_size=16)
    for part in (title, text, metadata):
        digest.update(part.encode())
    return digest.digest()


def digest(document: Document) -> bytes:
    """Return a digest of a document without its id (BLAKE2b, 128 bits); documents with equal digests need no update."""
    return digest_of(document.title, document.text, metadata_json(document))


def metadata_json(document: Document) -> str:
    """Return a document's metadata as JSON.

    Raises
    ------
    InputError
        For metadata that cannot be written so, and for too long a document, naming it.
    """
    try:
        text = _encode(dict(document.metadata))
        text.encode()
        if text.count("{") + text.count("[") > DEEPEST and depth(document.metadata) > DEEPEST:
            raise RecursionError
    except RecursionError:
        raise InputError(
            f"document {document.doc_id!r}: its metadata are nested too deeply, over {DEEPEST} levels"
        ) from None
    except (TypeError, ValueError) as error:  # half of a surrogate pair raises a ValueError too
        raise InputError(f"document {document.doc_id!r}: its metadata cannot be written as JSON ({error})") from error
    length = len(document.title) + len(document.text) + len(text)
    if length > LONGEST_TEXT:
        raise InputError(
            f"document {document.doc_id!r} has {counted(length, 'character')}, over {LONGEST_TEXT:,}: split it "
            f"(--chunk-size)"
        )
    return text
