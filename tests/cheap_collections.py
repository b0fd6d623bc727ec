"""Collections of a few words with the legs of `crash.cheap`, whose vectors cost nothing."""

from pathlib import Path

from crash.cheap import WORDS, plan

from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document

LEGS = ("bm25", "sparse", "dense", "graph")


def document(number: int, words: str = "", **metadata) -> Document:
    return Document(f"d{number}", words or f"{WORDS[number]} {WORDS[number + 1]}", metadata=metadata)


def make(path: Path, **options) -> Collection:
    made = plan()
    return CollectionWriter.create(path, made.legs, encoders=made.encoders, vocabularies=made.vocabularies, **options)


def found(collection: Collection, leg: str, words: str, k: int = 3) -> list[str]:
    query = [words] if leg == "bm25" else plan().encoders[leg].encode_document([words])
    return list(collection.index(leg).search(query, k).doc_ids)
