"""What a build would take: the whole corpus is read and checked, and a sample of it built."""

import importlib.util
import random
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from indexing.documents import Document
from indexing.errors import InputError
from indexing.seen_ids import SeenIds
from pipelines.build.ingest import BATCH_CHARACTERS, OnDuplicate
from pipelines.build.job import BuildReport, build_legs, expected_count
from pipelines.build.plan import Plan

SAMPLE = 512


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a build of a corpus would take.

    Parameters
    ----------
    documents, characters
        What the corpus holds.
    skipped, duplicates
        Records that could not be used, and those whose id stood there already.
    reading
        Seconds to read it.
    sampled
        How many documents were built to see how long it takes.
    seconds, bytes
        The whole build's time and size, in proportion to the sample's; a graph (hnsw) takes longer than that, and a
        Qdrant server is not asked: its time is that of Qdrant in this process.
    by_stage, by_part
        The same, by stage and by part of the collection.
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
            for count, what in ((self.skipped, "skipped"), (self.duplicates, "with an id that stood there already"))
            if count
        )
        return (
            f"{self.documents:,} documents, {self.characters:,} characters{left_out}; read in {self.reading:.1f} s\n"
            f"  time: about {_duration(self.seconds)} on this machine ({stages})\n"
            f"  room: about {self.bytes / 1e6:.1f} MB ({parts})\n"
            f"  judged by building {self.sampled:,} documents; nothing was written"
        )


def estimate_build(
    corpus: Iterable[Document],
    plan: Plan,
    *,
    on_duplicate: OnDuplicate = "error",
    show_progress: bool = True,
) -> Estimate:
    """Read and check a corpus as a build would, and judge the build by that of a random sample, which is thrown away.

    Raises
    ------
    InputError
        As the build would for the corpus.
    """
    start = time.perf_counter()
    seen, sample, characters, met = SeenIds(), _Sample(), 0, 0
    with tqdm(corpus, total=expected_count(corpus), desc="reading", unit="doc", disable=not show_progress) as documents:
        for document in documents:
            met += 1
            if not seen.add(document.doc_id):
                if on_duplicate == "error":
                    raise InputError(f"the id {document.doc_id!r} stands twice in the corpus: which document counts?")
                continue
            characters += len(document.title) + len(document.text)
            sample.offer(document)
    reading = time.perf_counter() - start
    if not sample.documents:
        raise InputError("there are no documents in the corpus")
    build = _build(sample.documents, _without_servers(plan))
    grow = characters / max(1, sum(len(document.title) + len(document.text) for document in sample.documents))
    parts = {"texts": build.store_bytes} | {f"{name} index": size for name, size in build.leg_bytes.items()}
    parts |= {f"{name} encoded": size for name, size in build.shard_bytes.items()}
    by_part = {part: int(size * len(seen) / len(sample.documents)) for part, size in parts.items()}
    return Estimate(
        documents=len(seen),
        characters=characters,
        skipped=int(getattr(corpus, "skipped", 0)),
        duplicates=max(met - len(seen), int(getattr(corpus, "duplicates", 0))),
        reading=reading,
        sampled=len(sample.documents),
        seconds=reading + build.seconds["total"] * grow,
        bytes=sum(by_part.values()),
        by_stage={stage: spent * grow for stage, spent in build.seconds.items() if stage != "total"},
        by_part=by_part,
    )


def _without_servers(plan: Plan) -> Plan:
    """Let Qdrant in this process hold what would go to a server: what is thrown away must not come to stand there."""
    here = "edge" if importlib.util.find_spec("qdrant_edge") else "local"
    legs = {}
    for name, leg in plan.legs.items():
        stays = {key: value for key, value in leg.parameters.items() if key != "server"}
        local = {"engine": here} if "server" in leg.parameters else {}
        legs[name] = replace(leg, parameters=stays | local)
    return replace(plan, legs=legs)


def _build(documents: list[Document], plan: Plan) -> BuildReport:
    with tempfile.TemporaryDirectory() as folder:
        # What is done once, starting Java and the first batch of a model, is no part of the proportion.
        build_legs(documents[:8], Path(folder) / "first", plan, show_progress=False)
        return build_legs(documents, Path(folder) / "sample", plan, show_progress=False)


class _Sample:
    """A uniform sample of documents offered one by one (Vitter's algorithm R), of bounded size."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._offered = 0
        self._random = random.Random(0)

    def offer(self, document: Document) -> None:
        """Take the document, perhaps."""
        self._offered += 1
        if len(document.text) > BATCH_CHARACTERS // SAMPLE * 8:
            return
        if len(self.documents) < SAMPLE:
            self.documents.append(document)
        elif (place := self._random.randrange(self._offered)) < SAMPLE:
            self.documents[place] = document


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
