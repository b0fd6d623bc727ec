"""The base class of all encoders: loading, saving and identity."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypedDict

from indexing.errors import InputError, ModelError
from indexing.inputs import flag, local_path, whole_number
from retrieve.encoders.adapters import Adapted
from retrieve.encoders.checkpoint import Checkpoint, Source, loading
from retrieve.encoders.engine import Engine, default_costs, default_device
from retrieve.encoders.exporting import Exported
from retrieve.encoders.kernels.memory import limit_kernel_cache
from retrieve.encoders.kernels.precision import resolve_dtype
from retrieve.encoders.modules import Step
from retrieve.encoders.readers import check_reader
from retrieve.encoders.saving import save_modules

if TYPE_CHECKING:
    import torch

    from retrieve.encoders.modules.module import LoadOptions, Module

Task = Literal["query", "document"]

PROMPT_NAMES: dict[Task, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Names of the prompts of each task; the first one that a checkpoint has is used."""


class ModelCard(Protocol):
    """Interface of the model card written beside a saved encoder, filled in by training or evaluation."""

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, float], epoch: float = -1, step: int = -1
    ) -> None:
        """Record the metrics of an evaluator, at a training step or outside training."""

    def text(self, encoder: "Encoder") -> str:
        """Return the card as Markdown."""


class LoadArguments(TypedDict, total=False):
    """Keyword arguments of every encoder's constructor, documented in `Encoder` and `PromptedEncoder`."""

    device: "str | torch.device | None"
    dtype: str
    max_length: int | None
    local_files_only: bool
    cache_folder: str | Path | None
    revision: str | None
    token: str | bool | None
    allow_bin: bool
    trust_remote_code: bool
    compile: bool
    prompts: Mapping[str, str] | None
    default_prompt_name: str | None


class Encoder(Adapted, Exported):
    """Base class of encoders: a loaded checkpoint and the engine that runs it.

    Parameters
    ----------
    model
        A folder in the layout of sentence-transformers or plain transformers, or a name on the Hub.
    device
        "cpu", "cuda", "cuda:1", …; by default a GPU if there is one.
    dtype
        The type the transformer computes in: "float32", "bfloat16", "float16", "int8" or "auto" (see
        `precision.resolve_dtype`). Pooling, normalisation and activations always compute in float32.
    max_length
        Truncate texts to this many tokens; by default the checkpoint's setting. Never more than the model has
        positions for.
    local_files_only, cache_folder, revision, token
        As in the Hub's library; see `checkpoint.Source`.
    allow_bin
        Without a model.safetensors, read pytorch_model.bin. It is a pickle, of which only tensors are loaded.
    trust_remote_code
        Run Python code from the checkpoint (its own transformers architecture, or modules after the first) in this
        process with all its rights. By default such code never runs, and the checkpoint is refused unless its
        architecture is known here or in transformers.
    compile
        Compile the transformer with ``torch.compile`` on its first run. This takes minutes for a large model, and
        needs a C++ compiler on a CPU. Results are equal up to rounding.

    Raises
    ------
    ModelError
        If the checkpoint cannot be found, is damaged, or belongs to another kind of encoder.
    """

    kind: ClassVar[str]
    organisation: ClassVar[str]  # tried first for a name without a slash on the Hub
    default_steps: ClassVar[Sequence[Step]]  # modules of a plain transformers checkpoint
    causal_steps: ClassVar[Sequence[Step]] = ()  # the same for a causal language model
    model_type: ClassVar[str]  # in config_sentence_transformers.json
    output: ClassVar[str] = "sentence_embedding"  # feature that the last module must add
    max_rows: ClassVar[int | None] = None  # limits of a batch, see `engine.Costs`
    max_tokens: ClassVar[int | None] = None
    model_card_data: ModelCard | None = None
    """Model card that `save` writes as README.md; None until the encoder is trained or evaluated."""

    def __init__(
        self,
        model: str | Path,
        *,
        device: "str | torch.device | None" = None,
        dtype: str = "auto",
        max_length: int | None = None,
        local_files_only: bool = False,
        cache_folder: str | Path | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        allow_bin: bool = False,
        trust_remote_code: bool = False,
        compile: bool = False,  # noqa: A002
    ) -> None:
        import torch

        from retrieve.encoders.kernels.prepare import prepare
        from retrieve.encoders.modules.module import LoadOptions

        allow_bin, local_files_only = flag(allow_bin, "allow_bin"), flag(local_files_only, "local_files_only")
        trust_remote_code, compile = flag(trust_remote_code, "trust_remote_code"), flag(compile, "compile")  # noqa: A001
        max_length = None if max_length is None else whole_number(max_length, "max_length")
        self.device = default_device(device)
        self.dtype = resolve_dtype(dtype, self.device, compiled=compile)
        self.precision = "int8" if dtype == "int8" else str(self.dtype).removeprefix("torch.")
        limit_kernel_cache()
        source = Source(revision, cache_folder, local_files_only, token, allow_bin, trust_remote_code)
        # A damaged or hostile checkpoint may fail in any step, with any error of the libraries that read it.
        with loading(model):
            self.checkpoint = Checkpoint.open(model, source, organisation=self.organisation)
            self._check_kind()
            options = LoadOptions(self.dtype, max_length, allow_bin, trust_remote_code, local_files_only)
            self.modules = self._load_modules(options)
            self.network = torch.nn.Sequential(*self.modules).to(self.device).eval()
            if compile:
                self._compile()
            else:
                prepare(self._transformers(), self.device, int8=self.precision == "int8")
            tasks = [task for task in (None, "document", "query") if self._supports(task)]
            widths = {self._checked_dimension(task) for task in tasks}
            if len(widths) != 1:
                raise ModelError(f"{self.checkpoint.folder}: routes make vectors of different widths, {sorted(widths)}")
            self.dimension = widths.pop()
            self._engines: dict[tuple[int, ...], Engine] = {}
            engines = [self.engine_for(task) for task in tasks]
        self.arguments: LoadArguments = {
            "dtype": self.precision,
            "max_length": max_length,
            "local_files_only": local_files_only,
            "cache_folder": cache_folder,
            "revision": self.checkpoint.revision or revision,
            "token": token,
            "allow_bin": allow_bin,
            "trust_remote_code": trust_remote_code,
            "compile": compile,
        }
        self.engine = engines[0]
        self.input = self.engine.input

    def engine_for(self, task: str | None) -> Engine:
        """Return the engine that encodes texts for a task; most models have the same one for all tasks.

        Raises
        ------
        InputError
            If the model has routes, but none for this task.
        """
        import torch

        modules = self._modules_for(task)
        engine = self._engines.get(key := tuple(map(id, modules)))
        if engine is None:
            costs = default_costs(self.device, self.dtype.itemsize, self.max_rows, self.max_tokens)
            engine = self._engines.setdefault(key, Engine(torch.nn.Sequential(*modules).eval(), self.device, costs))
        return engine

    def check_task(self, task: str | None) -> None:
        """Raise an `InputError` for a task that this model has no route for."""
        from retrieve.encoders.modules.router import Router, modules_for_task

        if task is not None and not isinstance(task, str):
            raise InputError(f"task must be the name of a task, such as 'query' or 'document', not {task!r}")
        modules_for_task(self.modules, task)
        if task not in (None, *PROMPT_NAMES) and not any(isinstance(module, Router) for module in self.modules):
            raise InputError(f"{self.checkpoint.name} has no routes: task must be 'query' or 'document', not {task!r}")

    def _supports(self, task: str | None) -> bool:
        from retrieve.encoders.modules.router import modules_for_task

        try:
            modules_for_task(self.modules, task)
        except InputError:
            return False
        return True

    def _checked_dimension(self, task: str | None) -> int:
        """Return the output width for a task; check that its modules read text and make this encoder's output."""
        from retrieve.encoders.modules.module import InputModule
        from retrieve.encoders.modules.router import modules_for_task

        modules, path = modules_for_task(self.modules, task), self.checkpoint.folder / "modules.json"
        if not modules or not isinstance(modules[0], InputModule):
            raise ModelError(f"{path}: the first module must read text")
        if modules[-1].output != self.output:
            raise ModelError(
                f"{path}: its modules end in {modules[-1].output}, but {type(self).__name__} needs {self.output}"
            )
        width: int | None = None
        for module in modules:
            width = module.dimension(width)
        return width or 0

    @property
    def max_length(self) -> int | None:
        """Number of tokens that texts are truncated to, the largest of all routes; None for no limit."""
        lengths = [engine.input.max_length for engine in self._engines.values()]
        return None if None in lengths else max(length for length in lengths if length is not None)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the vectors, in JSON values: encoders of equal identity may share an index.

        `name`, `revision` and `dtype` are informative and not compared: a copy of the model elsewhere or in another
        precision is the same encoder. The weights are hashed on first use.
        """
        return {
            "name": self.checkpoint.name,
            "revision": self.checkpoint.revision,
            "dtype": self.precision,
            "kind": self.kind,
            "weights_sha256": self.checkpoint.weights_sha256,
            "modules": [{"type": type(module).__name__, **module.config} for module in self.modules],
            "max_length": self.max_length,
            "dimension": self.dimension,
            **self._adapter_identity(),
        }

    @property
    def settings(self) -> dict[str, Any]:
        """Content of config_sentence_transformers.json in a saved encoder."""
        return {"model_type": self.model_type}

    def save(self, path: str | Path) -> None:
        """Save the encoder as safetensors, in the layout that every release of sentence-transformers reads.

        The transformer's weights are saved in the type they were loaded in: load with ``dtype="float32"`` to lose
        nothing. An encoder that was trained or evaluated gets a model card with its metrics.

        Parameters
        ----------
        path
            A folder that does not exist or is empty; it appears once everything is written.

        Raises
        ------
        InputError
            If the folder has content.
        """
        save_modules(self.modules, local_path(path, "path"), self.settings, card=self._card())

    def _card(self) -> str | None:
        return None if self.model_card_data is None else self.model_card_data.text(self)

    def _compile(self) -> None:
        for module in self._transformers():
            module.model.compile(dynamic=True)  # batches vary in rows and columns
            module.reentrant = False

    def __repr__(self) -> str:
        modules = " > ".join(type(module).__name__ for module in self.network)
        dtype = "int8" if self.precision == "int8" else self.dtype
        return f"{type(self).__name__}({self.checkpoint.name!r}: {modules}, {dtype}, {self.device})"

    def _check_kind(self) -> None:
        check_reader(self.checkpoint, type(self).__name__, self.model_type, scores_pairs=self.output == "scores")

    def _load_modules(self, options: "LoadOptions") -> "list[Module]":
        return self.checkpoint.load(self._implied_steps(), options)

    def _implied_steps(self) -> Sequence[Step]:
        """Return the modules of a plain transformers checkpoint, which has no modules.json."""
        config = self.checkpoint.config
        architectures = config.get("architectures") or [""]
        causal = architectures[0].endswith("ForCausalLM") and config.get("is_causal", True)
        return self.causal_steps if causal and self.causal_steps else self.default_steps
