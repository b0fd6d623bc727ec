"""Estimate of a build's time and size, from reading the whole corpus and building a sample of it."""

import importlib.util
import random
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from indexing.collection.legs import check_document
from indexing.corpora.corpus import Corpus
from indexing.documents import Document
from indexing.errors import InputError
from indexing.filters import check_fields
from indexing.plurals import counted
from indexing.progress import progress
from indexing.seen_ids import SeenIds
from pipelines.build.ingest import BATCH_CHARACTERS, OnDuplicate, duplicate_error
from pipelines.build.job import build_legs, expected_count
from pipelines.build.plan import Plan, left_out
from pipelines.build.report import BuildReport

SAMPLE = 512


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated time and size of a build.

    Parameters
    ----------
    documents, characters
        Size of the corpus.
    skipped, duplicates
        Number of unusable records, and of those with the id of an earlier one.
    reading
        Seconds to read the corpus.
    sampled
        Number of documents in the built sample.
    seconds, bytes
        Time and size of the build, scaled from the sample's. A graph (hnsw) takes longer than that; in place of a
        Qdrant server, Qdrant in this process is measured.
    by_stage, by_part
        Time by stage, and size by part of the collection.
    """

    documents: int
    characters: int
    skipped: int
    duplicates: int
    reading: float
    sampled: int
    seconds: float
    bytes: int
    by_stage: Mapping[str, float]
    by_part: Mapping[str, int]

    def __str__(self) -> str:
        stages = ", ".join(f"{stage} {spent:.0f} s" for stage, spent in self.by_stage.items())
        parts = ", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in self.by_part.items())
        left_out = "".join(
            f", {count:,} {what}"
            for count, what in ((self.skipped, "skipped"), (self.duplicates, "with a repeated id"))
            if count
        )
        return (
            f"{counted(self.documents, 'document')}, {counted(self.characters, 'character')}{left_out}; "
            f"read in {self.reading:.1f} s\n"
            f"  time: about {_duration(self.seconds)} on this machine ({stages})\n"
            f"  size: about {self.bytes / 1e6:.1f} MB ({parts})\n"
            f"  estimated from building {counted(self.sampled, 'document')}; nothing was written"
        )


def estimate_build(
    corpus: Iterable[Document],
    plan: Plan,
    *,
    on_duplicate: OnDuplicate = "error",
    show_progress: bool = True,
) -> Estimate:
    """Read and check a corpus as a build does, and estimate the build from that of a random sample, which is discarded.

    Raises
    ------
    InputError
        For the same corpora as a build.
    """
    start = time.perf_counter()
    seen, sample, characters, read = SeenIds(), _Sample(), 0, 0
    total = expected_count(corpus)
    check = partial(check_document, plan.legs, check_fields(plan.fields))
    with (
        corpus.checked(check_fields(plan.fields), check) if isinstance(corpus, Corpus) else nullcontext(),
        progress(corpus, total=total, desc="reading", unit="doc", disable=not show_progress) as documents,
    ):
        for document in documents:
            read += 1
            if not isinstance(corpus, Corpus):
                check(document)
            if not seen.add(document.doc_id):
                if on_duplicate == "error":
                    raise duplicate_error(document)
                continue
            characters += len(document.title) + len(document.text)
            sample.offer(document)
    reading = time.perf_counter() - start
    if not sample.documents:
        raise InputError("there are no documents in the corpus")
    build = _build(sample.documents, _without_servers(plan))
    scale = characters / max(1, sum(len(document.title) + len(document.text) for document in sample.documents))
    parts = {"texts": build.store_bytes} | {f"{name} index": size for name, size in build.leg_bytes.items()}
    parts |= {f"{name} encoded": size for name, size in build.shard_bytes.items()}
    skipped, duplicates = left_out(corpus)
    by_part = {part: int(size * len(seen) / len(sample.documents)) for part, size in parts.items()}
    return Estimate(
        documents=len(seen),
        characters=characters,
        skipped=skipped,
        duplicates=max(read - len(seen), duplicates),
        reading=reading,
        sampled=len(sample.documents),
        seconds=reading + build.seconds["total"] * scale,
        bytes=sum(by_part.values()),
        by_stage={stage: spent * scale for stage, spent in build.seconds.items() if stage != "total"},
        by_part=by_part,
    )


def _without_servers(plan: Plan) -> Plan:
    """Replace Qdrant servers by Qdrant in this process: the discarded sample must not reach a server."""
    engine = "edge" if importlib.util.find_spec("qdrant_edge") else "local"
    legs = {}
    for name, leg in plan.legs.items():
        parameters = {key: value for key, value in leg.parameters.items() if key != "server"}
        local = {"engine": engine} if "server" in leg.parameters else {}
        legs[name] = replace(leg, parameters=parameters | local)
    return replace(plan, legs=legs)


def _build(documents: list[Document], plan: Plan) -> BuildReport:
    with tempfile.TemporaryDirectory() as folder:
        # A first build takes the one-time costs, starting Java and a model's first batch, out of the measurement.
        build_legs(documents[:8], Path(folder) / "warm-up", plan, show_progress=False)
        return build_legs(documents, Path(folder) / "sample", plan, show_progress=False)


class _Sample:
    """Uniform sample of bounded size from documents offered one by one (Vitter's algorithm R)."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._offered = 0
        self._random = random.Random(0)

    def offer(self, document: Document) -> None:
        """Add the document to the sample with the right probability."""
        self._offered += 1
        if len(document.text) > BATCH_CHARACTERS // SAMPLE * 8:
            return
        if len(self.documents) < SAMPLE:
            self.documents.append(document)
        elif (position := self._random.randrange(self._offered)) < SAMPLE:
            self.documents[position] = document


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
