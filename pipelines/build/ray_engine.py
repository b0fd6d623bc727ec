"""Encoding on many machines: a Ray Data job over ranges of a corpus, which survives the death of workers.

The corpus is split into ranges by the lengths of its files alone. Workers, each with its own copy of the encoders, read
one range at a time, make documents or chunks of it, and write a file for each leg (`pipelines.build.encoded`), named by
its contents. A range with an undamaged file is not encoded again. The build then looks texts up in these files instead
of encoding them.
"""

import logging
import os
import pickle
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.collection.identity import differences
from indexing.collection.legs import DocumentEncoder
from indexing.corpora.corpus import Corpus
from indexing.corpora.sources.folder import FileGroup
from indexing.corpora.sources.ranges import RANGE_BYTES, RANGE_ROWS, Range, split_into_ranges
from indexing.errors import InputError, ModelError, RetrieveError, SetupError
from indexing.plurals import counted
from indexing.progress import progress
from pipelines.build.encoded import EncodedTexts, file_name, is_intact, text_digests, write_encoded

if TYPE_CHECKING:
    from retrieve.encoders.prompted import PromptedEncoder

logger = logging.getLogger(__name__)

MAX_RESTARTS = 20
"""Maximum number of restarts of a worker and of retries of a range.

A range that kills every worker must end the job; the loss of a machine must not.
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Ray cluster that runs the workers.

    Parameters
    ----------
    address
        Address of a Ray cluster (``"auto"``, ``"ray://host:10001"``); by default ``RAY_ADDRESS``, else a cluster is
        started on this machine for the duration of the job. An existing connection of this process is used as it is.
    workers
        Number of workers; by default one per GPU of the cluster, or one per processor if there is no GPU.
    """

    address: str | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Result of an encoding job.

    Parameters
    ----------
    encoders
        For each leg the substitute of its encoder in a build.
    ranges, encoded
        Number of ranges of the corpus, and of those encoded by this job for at least one leg.
    documents, malformed
        Number of usable records, and of unusable ones, which the build reports.
    workers
        The processes that took part, as ``host:pid``.
    seconds
        Duration of the job.
    """

    encoders: Mapping[str, EncodedTexts]
    ranges: int
    encoded: int
    documents: int
    malformed: int
    workers: Sequence[str]
    seconds: float

    def __str__(self) -> str:
        reused = self.ranges - self.encoded
        return (
            f"encoded {counted(self.documents, 'document')} in {self.seconds:.1f} s: "
            f"{self.encoded:,} of {self.ranges:,} parts by {counted(len(self.workers), 'worker')}"
            + (f", {reused:,} were already encoded" if reused else "")
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

    To resume a job that was stopped or lost its workers, call it again.

    Parameters
    ----------
    corpus
        A corpus of Parquet or JSON lines files, or of files of people (`read_files`); also in chunks.
    encoders
        The encoder of each leg. Workers load it again from the same path or name and in the same precision.
    folder
        Folder of the encoded files. Like the corpus and the models, it must have the same path and contents on every
        machine, e.g. on a shared file system.
    cluster
        The cluster; see `Cluster`.
    range_rows, range_bytes
        Size of a range, in a Parquet file, and in a JSON lines file or of files of people together.
    show_progress
        Show a progress bar on stderr.

    Raises
    ------
    SetupError
        When Ray is not installed, or its cluster cannot be reached.
    InputError
        For a corpus that cannot be split, or an encoder that workers cannot load.
    ModelError
        When workers load another encoder than the one here, or die repeatedly.
    """
    if not encoders:
        raise InputError("nothing to encode: no leg has an encoder")
    started = time.perf_counter()
    ranges = split_into_ranges(corpus.source, rows=range_rows, size=range_bytes)
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    job = _Job({leg: _recipe(encoder) for leg, encoder in encoders.items()}, corpus.without_source(), str(folder))
    done: dict[int, dict[str, Any]] = {}
    with (
        _connected(cluster or Cluster()) as workers,
        progress(total=len(ranges), desc="encoding", unit="part", disable=not show_progress) as bar,
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
    """Arguments to load an encoder in another process, and the identity that it must have there."""

    kind: Callable[..., Any]
    model: str
    arguments: Mapping[str, Any]
    identity: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Job:
    recipes: Mapping[str, _Recipe]
    corpus: Corpus
    folder: str


class _Worker:
    """Worker that encodes ranges; it loads an encoder for the first range that needs it."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._encoders: dict[str, DocumentEncoder] = {}

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        texts, malformed = self._texts(pickle.loads(row["part"]))  # made by the process that started the job
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

    def _texts(self, part: Range | FileGroup) -> tuple[list[str], int]:
        texts: list[str] = []
        malformed = 0
        for record in part.records():
            try:
                texts += [document.contents for document in self._job.corpus.stored_documents(record)]
            except InputError:
                malformed += 1
        return texts, malformed

    def _encoder(self, leg: str) -> DocumentEncoder:
        if leg not in self._encoders:
            recipe = self._job.recipes[leg]
            encoder: Any = recipe.kind(recipe.model, **recipe.arguments)
            if differ := differences(recipe.identity, encoder.identity):
                raise ModelError(
                    f"{platform.node()} has another model at {recipe.model!r} than the machine that started the job: "
                    f"they differ in {', '.join(differ)}. Put the same model on every machine"
                )
            self._encoders[leg] = encoder
        return self._encoders[leg]


def _recipe(encoder: "PromptedEncoder") -> _Recipe:
    kind, model, arguments = encoder.recipe
    if Path(model).exists():
        model = str(Path(model).absolute())
    return _Recipe(kind, model, arguments, encoder.identity)


def _results(job: _Job, ranges: Sequence[Range | FileGroup], workers: int) -> Iterator[dict[str, Any]]:
    import ray

    if not ranges:
        return
    context = ray.data.DataContext.get_current()
    previous, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        items = [{"number": number, "part": pickle.dumps(part)} for number, part in enumerate(ranges)]
        gpus = ray.cluster_resources().get("GPU", 0)
        worker: Any = _Worker
        # One range per block, so that each is a task of its own, which any worker can retry alone.
        yield from (
            ray.data.from_items(items, override_num_blocks=len(items))
            .map(
                worker,
                fn_constructor_args=(job,),
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
                num_cpus=1,
                num_gpus=1 if gpus >= workers else None,
                max_restarts=MAX_RESTARTS,
                max_task_retries=MAX_RESTARTS,
            )
            .iter_rows()
        )
    except ray.exceptions.RayActorError as error:
        raise ModelError(
            f"workers died {MAX_RESTARTS} times ({_last_line(error)}): too little memory, or a text that crashes the "
            "model; see Ray's logs. Encoded files are kept"
        ) from error
    except ray.exceptions.RayError as error:
        raise _own_error(error) from error
    finally:
        context.enable_progress_bars = previous


@contextmanager
def _connected(cluster: Cluster) -> Iterator[int]:
    """Connect to the cluster or start one; yield the number of workers."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SetupError("Ray is not installed: pip install 'retrieve-rerank[ray]'") from error
    connect = not ray.is_initialized()
    if connect:
        address = cluster.address or os.environ.get("RAY_ADDRESS")
        local: dict[str, Any] = {} if address else {"num_cpus": cluster.workers, "include_dashboard": False}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **local)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {address!r} cannot be reached" if address else "Ray cannot be started here"
            raise SetupError(f"{where}: {_last_line(error)}") from error
    try:
        resources = ray.cluster_resources()
        yield cluster.workers or int(resources.get("GPU") or resources.get("CPU") or 1)
    finally:
        if connect:
            ray.shutdown()


def _own_error(error: BaseException) -> RetrieveError:
    """Return this project's error from inside those that Ray wraps around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RetrieveError):
            return type(cause)(str(cause)) if not hasattr(cause, "cause") else ModelError(_last_line(cause))
        cause = getattr(cause, "cause", None) or cause.__cause__
    return ModelError(f"a worker failed: {_last_line(error)}. Encoded files are kept")


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2][:400]
