"""Create the files of an empty collection."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexing.collection.legs import create_index
from indexing.collection.manifest import Leg, Manifest, check_name, write_manifest
from indexing.collection.ownership import remove
from indexing.collection.staging import write_lock
from indexing.collection.store import DocumentStore
from indexing.errors import InputError, StorageError
from indexing.filters import check_fields
from indexing.indexes.registry import kind_of
from indexing.indexes.terms import write_vocabulary


def create_empty(
    path: Path,
    legs: Mapping[str, Leg],
    fields: Mapping[str, str],
    corpus: Mapping[str, Any],
    vocabularies: Mapping[str, Sequence[str]],
) -> None:
    """Create an empty collection; parameters as in `CollectionWriter.create`. After an error nothing is left.

    Raises
    ------
    InputError
        Without legs, or for parameters that a kind of index does not have.
    StorageError
        When something stands at `path`, or another process writes there.
    """
    if not legs:
        raise InputError("a collection needs a leg")
    entries = {check_name(name): replace(leg, folder=name) for name, leg in legs.items()}
    with write_lock(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StorageError(f"{path} exists already: choose another directory")
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write(path, Manifest(0, dict(corpus), entries, check_fields(fields)), vocabularies)
        except BaseException:
            remove(path)
            raise


def with_place(leg: Leg, name: str, collection: Path) -> Leg:
    """Return the leg with a place chosen for what its index keeps outside of its folder; see `Kind.place`."""
    return replace(leg, parameters=kind_of(leg.backend).place(leg.parameters, name, collection))


def _write(path: Path, manifest: Manifest, vocabularies: Mapping[str, Sequence[str]]) -> None:
    """Write the store, the legs and last the manifest."""
    DocumentStore.create(path / "documents.sqlite", fields=manifest.fields).close()
    legs = {}
    for name, leg in manifest.legs.items():
        shards = path / "shards" / name
        if (terms := vocabularies.get(name)) is not None:
            described = {"columns": len(terms), "vocabulary_sha256": write_vocabulary(shards, terms)}
            leg = replace(leg, parameters={**leg.parameters, **described})
        legs[name] = with_place(leg, name, path)
        index = create_index(legs[name], path / "legs" / leg.folder, shards, manifest.fields)
        index.commit(0)
        index.close()
    write_manifest(path, replace(manifest, legs=legs))
