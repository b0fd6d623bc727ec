"""The folder of a mining job: what its rows were mined from, its parts, and the counts of each part."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.disk import write_atomically, write_json
from indexing.errors import InputError, StorageError
from indexing.inputs import local_path
from indexing.json_text import parse_json
from pipelines.mining.relevant_documents import Positive

if TYPE_CHECKING:
    import pyarrow as pa

JOB_FILE = "mining.json"
_COUNTS = b"mining"
"""Key of a part's counts in the metadata of its Parquet file."""
_INPUTS = {"pairs": "other queries or relevant documents", "collection": "another state of the collection"}


def claim(folder: Path, job: Mapping[str, Any]) -> None:
    """Record a job in its folder, or accept the folder of the same job.

    Raises
    ------
    StorageError
        When the folder holds rows of another job; the message says what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / JOB_FILE
    if manifest.is_file():
        try:
            known = parse_json(manifest.read_text("utf-8"))
            different = [name for name, value in json.loads(json.dumps(job)).items() if known.get(name) != value]
        except (ValueError, AttributeError) as error:
            raise StorageError(f"{manifest} is damaged ({error}): name another folder, or delete this one") from error
        if different:
            what = next((text for name, text in _INPUTS.items() if name in different), "other settings")
            raise StorageError(f"{folder} holds rows mined with {what} ({JOB_FILE}): name another folder")
    elif any(folder.iterdir()):
        raise StorageError(f"{folder} is not empty and holds no mined rows: name another folder")
    else:
        write_json(manifest, dict(job))


def digest_of_pairs(queries: Mapping[str, str], positives: Mapping[str, Sequence[Positive]]) -> str:
    """Return a digest of queries with their relevant documents."""
    digest = blake2b(digest_size=16)
    for query_id, text in queries.items():
        right = [(positive.doc_id, positive.text) for positive in positives.get(query_id, ())]
        digest.update(json.dumps([query_id, text, right]).encode())
    return digest.hexdigest()


def state_of(manifest: Any) -> str:
    """Return a digest of what the answers of a collection's legs depend on, from its manifest."""
    legs = {
        name: [leg.backend, dict(leg.parameters), leg.count, leg.sequence, (leg.encoder or {}).get("weights_sha256")]
        for name, leg in manifest.legs.items()
    }
    state = json.dumps([manifest.documents, dict(manifest.corpus), legs], sort_keys=True, default=str)
    return blake2b(state.encode(), digest_size=16).hexdigest()


def write_part(path: Path, rows: "pa.Table", counts: Mapping[str, Any]) -> None:
    """Write the rows of a block of queries, with the counts of the block."""
    import pyarrow.parquet as pq

    stored = rows.replace_schema_metadata({_COUNTS: json.dumps(counts)})
    write_atomically(path, lambda file: pq.write_table(stored, file, compression="zstd"))


def read_part(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the number of rows of a part, and its counts; none for a part of an earlier release."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    try:
        return int(metadata.num_rows), parse_json((metadata.metadata or {}).get(_COUNTS, b"{}"))
    except ValueError as error:
        raise StorageError(f"{path} is damaged ({error}): delete it and mine again") from error


def read_mined(path: str | Path) -> Any:
    """Return the rows that `mine` wrote as a `datasets.Dataset`.

    Raises
    ------
    InputError, StorageError
        When there is no row, or no file of rows.
    """
    from datasets import Dataset

    parts = sorted(local_path(path, "path").glob("part-*.parquet"))
    if not parts:
        raise StorageError(f"{path} holds no mined rows (part-*.parquet): run `retrieve mine` first")
    # `datasets` cannot read Parquet files without rows.
    filled = [str(part) for part in parts if read_part(part)[0]]
    if not filled:
        raise InputError(
            f"{path} holds no rows: too few negatives were found for every query; mine with smaller quotas "
            "(--sources), a larger depth (--depth) or wider limits"
        )
    return Dataset.from_parquet(filled)
