"""Encoding on many machines: a Ray Data job over ranges of a corpus, each encoded once however often a worker dies.

The corpus is cut into ranges by its files' lengths alone. Workers, each with its own copy of the encoders, take a range
at a time, read it, and write one file for each leg (`pipelines.build.encoded`), whose name says what is in it. A range
whose file is there and whole is not encoded again. The build then looks texts up in these files instead of encoding.
"""

import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from indexing.collection.identity import differences
from indexing.collection.legs import DocumentEncoder
from indexing.corpora.corpus import Corpus, Fields
from indexing.corpora.sources.ranges import RANGE_BYTES, RANGE_ROWS, Range, split_into_ranges
from indexing.errors import InputError, ModelError, RetrieveError, SetupError
from pipelines.build.encoded import EncodedTexts, file_name, is_intact, text_digests, write_encoded

if TYPE_CHECKING:
    from retrieve.encoders.base import PromptedEncoder

logger = logging.getLogger(__name__)

MOST_RESTARTS = 20
"""Of a worker, and tries of a range: a range that kills whoever takes it must end the job, a lost machine must not."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the workers run.

    Parameters
    ----------
    address
        Of a Ray cluster (``"auto"``, ``"ray://host:10001"``); by default what ``RAY_ADDRESS`` says, else one is started
        on this machine for the length of the job. A connection that this process has already is used as it is.
    workers
        How many; by default one for each GPU of the cluster, without any one for each processor.
    """

    address: str | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a job did.

    Parameters
    ----------
    encoders
        For each leg, what stands in for its encoder in a build.
    ranges, encoded
        How many ranges the corpus has, and how many were encoded now for at least one leg.
    documents, malformed
        Records read, and those left out because they cannot be used: the build names them.
    workers
        The processes that took part, as ``host:pid``.
    seconds
        The whole job's.
    """

    encoders: Mapping[str, EncodedTexts]
    ranges: int
    encoded: int
    documents: int
    malformed: int
    workers: Sequence[str]
    seconds: float

    def __str__(self) -> str:
        kept = self.ranges - self.encoded
        return (
            f"encoded {self.documents:,} documents in {self.seconds:.1f} s: {self.encoded:,} of {self.ranges:,} parts "
            f"by {len(self.workers)} workers" + (f", {kept:,} were there already" if kept else "")
        )


def encode_with_ray(
    corpus: Corpus,
    encoders: "Mapping[str, PromptedEncoder]",
    folder: str | Path,
    *,
    cluster: Cluster | None = None,
    range_rows: int = RANGE_ROWS,
    range_bytes: int = RANGE_BYTES,
    show_progress: bool = True,
) -> Encoded:
    """Encode a corpus with the workers of a Ray cluster.

    A job that was stopped, or lost workers, goes on by calling it again.

    Parameters
    ----------
    corpus
        Of Parquet files or of JSON lines.
    encoders
        For each leg. Workers load them again, from the same path or name and in the same precision.
    folder
        Where the encoded files go. Like the corpus and the models it must be what it is here on every machine, a
        shared file system for instance.
    cluster
        Where to run; see `Cluster`.
    range_rows, range_bytes
        What a worker takes at a time, of a Parquet file and of JSON lines.
    show_progress
        A progress bar on stderr.

    Raises
    ------
    SetupError
        When Ray is not installed, or its cluster cannot be reached.
    InputError
        For a corpus that cannot be cut, or an encoder that cannot be sent.
    ModelError
        When workers load another encoder than the one here, or keep dying.
    """
    if not encoders:
        raise InputError("there is nothing to encode: no leg has an encoder")
    started = time.perf_counter()
    ranges = split_into_ranges(corpus.source, rows=range_rows, size=range_bytes)
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    job = _Job({leg: _recipe(encoder) for leg, encoder in encoders.items()}, corpus.fields, str(folder))
    done: dict[int, dict[str, Any]] = {}
    with (
        _connected(cluster or Cluster()) as workers,
        tqdm(total=len(ranges), desc="encoding", unit="part", disable=not show_progress) as bar,
    ):
        for row in _results(job, ranges, workers):
            done[int(row["number"])] = row
            bar.update()
    rows = [done[number] for number in range(len(ranges))]
    files = {leg: [folder / leg / row[f"file {leg}"] for row in rows if row["documents"]] for leg in encoders}
    return Encoded(
        encoders={leg: EncodedTexts(encoder.identity, files[leg]) for leg, encoder in encoders.items()},
        ranges=len(ranges),
        encoded=sum(bool(row["encoded"]) for row in rows),
        documents=sum(int(row["documents"]) for row in rows),
        malformed=sum(int(row["malformed"]) for row in rows),
        workers=sorted({str(row["worker"]) for row in rows}),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, slots=True)
class _Recipe:
    """An encoder to be made in another process, and the identity it must then have."""

    kind: type["PromptedEncoder"]
    model: str
    arguments: Mapping[str, Any]
    identity: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Job:
    recipes: Mapping[str, _Recipe]
    fields: Fields
    folder: str


class _Worker:
    """Encodes ranges; loads an encoder when the first range comes that needs it."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._encoders: dict[str, DocumentEncoder] = {}

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        texts, malformed = self._texts(Range(row["path"], int(row["start"]), int(row["stop"])))
        digests = text_digests(texts)
        result: dict[str, Any] = {"number": row["number"], "documents": len(texts), "malformed": malformed}
        encoded = False
        for leg, recipe in self._job.recipes.items():
            path = Path(self._job.folder) / leg / file_name(recipe.identity, digests)
            if texts and not is_intact(path):
                write_encoded(path, digests, self._encoder(leg).encode_document(texts))
                encoded = True
            result[f"file {leg}"] = path.name
        return result | {"encoded": encoded, "worker": f"{platform.node()}:{os.getpid()}"}

    def _texts(self, part: Range) -> tuple[list[str], int]:
        texts, malformed = [], 0
        for record in part.records():
            try:
                texts.append(self._job.fields.document(record).contents)
            except InputError:
                malformed += 1
        return texts, malformed

    def _encoder(self, leg: str) -> DocumentEncoder:
        if leg not in self._encoders:
            recipe = self._job.recipes[leg]
            encoder: Any = recipe.kind(recipe.model, **recipe.arguments)
            if differ := differences(recipe.identity, encoder.identity):
                raise ModelError(
                    f"{platform.node()} has another model at {recipe.model!r} than the machine that began the job: "
                    f"they differ in {', '.join(differ)}. Put the same model on every machine"
                )
            self._encoders[leg] = encoder
        return self._encoders[leg]


def _recipe(encoder: "PromptedEncoder") -> _Recipe:
    kind, model, arguments = encoder.recipe
    if Path(model).exists():
        model = str(Path(model).absolute())
    return _Recipe(kind, model, arguments, encoder.identity)


def _results(job: _Job, ranges: Sequence[Range], workers: int) -> Iterator[dict[str, Any]]:
    import ray

    context = ray.data.DataContext.get_current()
    shown, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        items = [
            {"number": number, "path": part.path, "start": part.start, "stop": part.stop}
            for number, part in enumerate(ranges)
        ]
        gpus = ray.cluster_resources().get("GPU", 0)
        # One range a block, so that each is a task of its own: tried again alone, by whichever worker is there.
        yield from (
            ray.data.from_items(items, override_num_blocks=len(items))
            .map(
                _Worker,
                fn_constructor_args=(job,),
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
                num_cpus=1,
                num_gpus=1 if gpus >= workers else None,
                max_restarts=MOST_RESTARTS,
                max_task_retries=MOST_RESTARTS,
            )
            .iter_rows()
        )
    except ray.exceptions.RayActorError as error:
        raise ModelError(
            f"workers died {MOST_RESTARTS} times ({_last_line(error)}): too little memory, or a text that the model "
            "cannot take; Ray's logs say which. What was encoded is kept"
        ) from error
    except ray.exceptions.RayError as error:
        raise _ours(error) from error
    finally:
        context.enable_progress_bars = shown


@contextmanager
def _connected(cluster: Cluster) -> Iterator[int]:
    """Connect to the cluster, or start one; give the number of workers."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SetupError("Ray is not installed: pip install 'retrieve-rerank[ray]'") from error
    began = not ray.is_initialized()
    if began:
        address = cluster.address or os.environ.get("RAY_ADDRESS")
        local = {} if address else {"num_cpus": cluster.workers, "include_dashboard": False}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **local)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {address!r} cannot be reached" if address else "Ray cannot be started here"
            raise SetupError(f"{where}: {_last_line(error)}") from error
    try:
        resources = ray.cluster_resources()
        yield cluster.workers or int(resources.get("GPU") or resources.get("CPU") or 1)
    finally:
        if began:
            ray.shutdown()


def _ours(error: BaseException) -> RetrieveError:
    """Find this project's own error among those that Ray has put around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RetrieveError):
            return type(cause)(str(cause)) if not hasattr(cause, "cause") else ModelError(_last_line(cause))
        cause = getattr(cause, "cause", None) or cause.__cause__
    return ModelError(f"a worker failed: {_last_line(error)}. What was encoded is kept")


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2][:400]
