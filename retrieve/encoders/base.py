"""What all encoders share: how they are loaded and known again, and their prompts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypedDict

from indexing.errors import InputError, ModelError
from retrieve.encoders.checkpoint import Checkpoint, Source, Step
from retrieve.encoders.engine import Engine, default_costs, default_device
from retrieve.encoders.kernels.memory import limit_kernel_cache
from retrieve.encoders.kernels.precision import resolve_dtype
from retrieve.encoders.saving import save_modules

if TYPE_CHECKING:
    import torch

    from retrieve.encoders.modules.transformer import Transformer
    from retrieve.encoders.workers import EncoderWorkers

Task = Literal["query", "document"]

_PROMPT_NAMES: dict[Task, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


class ModelCard(Protocol):
    """What is written beside a saved encoder for people to read; made by what trains or evaluates it."""

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, float], epoch: float = -1, step: int = -1
    ) -> None:
        """Take down what an evaluator found, at a step of training or outside of it."""

    def text(self, encoder: "Encoder") -> str:
        """Give the card as Markdown."""


class LoadArguments(TypedDict, total=False):
    """The keyword arguments of every encoder's constructor; `Encoder` and `PromptedEncoder` say what they mean."""

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


class Encoder:
    """A checkpoint, loaded, and the engine that runs it.

    Parameters
    ----------
    model
        A folder in sentence-transformers' or plain transformers' layout, or a name on the Hub.
    device
        "cpu", "cuda", "cuda:1", …; by default a GPU where there is one.
    dtype
        In which the transformer computes: "float32", "bfloat16", "float16" or "auto" (see `precision.resolve_dtype`).
        Pooling, normalising and activations are float32 always.
    max_length
        Cut texts to this many tokens; by default what the checkpoint says, at most what the model has positions for.
    local_files_only, cache_folder, revision, token
        As in the Hub's own library; see `checkpoint.Source`.
    allow_bin
        Where there is no model.safetensors, read pytorch_model.bin: a pickle, of which only tensors are taken.
    trust_remote_code
        Run Python code that the checkpoint brings, in this process and with all its rights: a transformers
        architecture of its own, or modules behind the first. Otherwise such a checkpoint is refused, and nothing of it
        is run, unless its architecture is known here or in transformers.
    compile
        Have ``torch.compile`` make one program of the transformer, the first time it runs: minutes for a large model,
        and a C++ compiler on a processor. Results are equal up to rounding.

    Raises
    ------
    ModelError
        When the checkpoint cannot be found, is damaged, or is not one for this kind of encoder.
    """

    kind: ClassVar[str]
    organisation: ClassVar[str]
    default_steps: ClassVar[Sequence[Step]]
    causal_steps: ClassVar[Sequence[Step]] = ()
    saved_as: ClassVar[str]
    output: ClassVar[str] = "sentence_embedding"
    max_rows: ClassVar[int | None] = None
    max_tokens: ClassVar[int | None] = None
    model_card_data: ModelCard | None = None
    """What `save` writes as README.md; None until the encoder is trained or evaluated."""

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

        from retrieve.encoders.modules.module import LoadOptions

        if max_length is not None and max_length < 1:
            raise InputError(f"max_length must be at least 1, not {max_length}")
        self.device = default_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        limit_kernel_cache()
        source = Source(revision, cache_folder, local_files_only, token, allow_bin, trust_remote_code)
        self.checkpoint = Checkpoint.open(model, source, organisation=self.organisation)
        self._check_saved_as()
        options = LoadOptions(self.dtype, max_length, allow_bin, trust_remote_code, local_files_only)
        self.modules = self.checkpoint.load(self._plain_steps(), options)
        self.network = torch.nn.Sequential(*self.modules).to(self.device).eval()
        self.arguments: LoadArguments = {
            "dtype": str(self.dtype).removeprefix("torch."),
            "max_length": max_length,
            "local_files_only": local_files_only,
            "cache_folder": cache_folder,
            "revision": self.checkpoint.revision or revision,
            "token": token,
            "allow_bin": allow_bin,
            "trust_remote_code": trust_remote_code,
            "compile": compile,
        }
        if compile:
            self._compile()
        elif self.device.type == "cpu":
            self._pack()
        tasks = [task for task in (None, "document", "query") if self._has(task)]
        widths = {self._check(task) for task in tasks}
        if len(widths) != 1:
            raise ModelError(f"{self.checkpoint.folder}: its routes give vectors of different widths, {sorted(widths)}")
        self.dimension = widths.pop()
        self._engines: dict[tuple[int, ...], Engine] = {}
        engines = [self.engine_for(task) for task in tasks]
        self.engine = engines[0]
        self.input = self.engine.input

    def engine_for(self, task: str | None) -> Engine:
        """Give the engine that encodes texts for a task: most models have one for all.

        Raises
        ------
        InputError
            When the model has different routes and none for this task.
        """
        import torch

        from retrieve.encoders.modules.router import modules_for_task

        modules = modules_for_task(self.modules, task)
        found = self._engines.get(key := tuple(map(id, modules)))
        if found is None:
            costs = default_costs(self.device, self.dtype.itemsize, self.max_rows, self.max_tokens)
            network = torch.nn.Sequential(*modules).eval()
            found = self._engines.setdefault(key, Engine(network, self.device, costs))
        return found

    def _has(self, task: str | None) -> bool:
        from retrieve.encoders.modules.router import modules_for_task

        try:
            modules_for_task(self.modules, task)
        except InputError:
            return False
        return True

    def _check(self, task: str | None) -> int:
        """Check that what texts pass for a task makes them into what this encoder is for; gives its width."""
        from retrieve.encoders.modules.module import InputModule
        from retrieve.encoders.modules.router import modules_for_task

        modules, listed = modules_for_task(self.modules, task), self.checkpoint.folder / "modules.json"
        if not modules or not isinstance(modules[0], InputModule):
            raise ModelError(f"{listed}: the first module must read text")
        if modules[-1].output != self.output:
            raise ModelError(
                f"{listed}: its modules end in {modules[-1].output}, and {type(self).__name__} needs {self.output}"
            )
        return self._dimension(modules)

    @property
    def max_length(self) -> int | None:
        """The most tokens of a text that are read; None for no limit. Of several routes, the largest."""
        lengths = [engine.input.max_length for engine in self._engines.values()]
        return None if None in lengths else max(length for length in lengths if length is not None)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the vectors: two encoders of equal identity may share an index.

        `name`, `revision` and `dtype` are there for the record, not for comparing: a copy elsewhere, or the same
        model in another precision, is the same encoder. JSON values only. The weights are hashed on first use.
        """
        return {
            "name": self.checkpoint.name,
            "revision": self.checkpoint.revision,
            "dtype": str(self.dtype).removeprefix("torch."),
            "kind": self.kind,
            "weights_sha256": self.checkpoint.weights_sha256,
            "modules": [{"type": type(module).__name__, **module.config} for module in self.modules],
            "max_length": self.max_length,
            "dimension": self.dimension,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What config_sentence_transformers.json says of this encoder when it is saved."""
        return {"model_type": self.saved_as}

    def save(self, path: str | Path) -> None:
        """Write the encoder as safetensors, in the layout that every release of sentence-transformers reads.

        The transformer's weights are written as they are held, so load with ``dtype="float32"`` to lose nothing. An
        encoder that was trained or evaluated gets its card, with the figures.

        Parameters
        ----------
        path
            A folder that is not there yet, or is empty; it appears when all is written.

        Raises
        ------
        InputError
            When something is there.
        """
        save_modules(self.modules, Path(path), self.settings, card=self._card())

    def _card(self) -> str | None:
        return None if self.model_card_data is None else self.model_card_data.text(self)

    def _compile(self) -> None:
        for module in self._transformers():
            # Batches have any number of rows and of columns: one program for all of them.
            module.model.compile(dynamic=True)
            module.reentrant = False

    def _pack(self) -> None:
        from retrieve.encoders.kernels.packed_linear import pack
        from retrieve.encoders.kernels.unpadded import unpad

        for module in self._transformers():
            pack(module.model)
            module.unpadded = unpad(module.model)

    def _transformers(self) -> "list[Transformer]":
        from retrieve.encoders.modules.transformer import Transformer

        return [module for module in self.network.modules() if isinstance(module, Transformer)]

    def __repr__(self) -> str:
        modules = " > ".join(type(module).__name__ for module in self.network)
        return f"{type(self).__name__}({self.checkpoint.name!r}: {modules}, {self.dtype}, {self.device})"

    def _check_saved_as(self) -> None:
        saved_as = self.checkpoint.settings.get("model_type", "SentenceTransformer") if self.checkpoint.steps else None
        if saved_as is not None and saved_as != self.saved_as:
            raise ModelError(
                f"{self.checkpoint.folder} was saved as a {saved_as}, which {type(self).__name__} does not read"
            )
        architectures = self.checkpoint.config.get("architectures") or [""]
        if architectures[0].endswith("ForSequenceClassification") and self.output != "scores":
            raise ModelError(f"{self.checkpoint.folder} holds a {architectures[0]}: CrossEncoder reads that")

    def _plain_steps(self) -> Sequence[Step]:
        """Give what stands in for the list of modules that a plain transformers checkpoint lacks."""
        return self.causal_steps if self._is_causal() and self.causal_steps else self.default_steps

    def _is_causal(self) -> bool:
        config = self.checkpoint.config
        architectures = config.get("architectures") or [""]
        return architectures[0].endswith("ForCausalLM") and config.get("is_causal", True)

    @staticmethod
    def _dimension(modules: Sequence[Any]) -> int:
        width: int | None = None
        for module in modules:
            width = module.dimension(width)
        return width or 0


class PromptedEncoder(Encoder):
    """An encoder with the prompts that its checkpoint wants before texts, or before the first of two.

    Parameters
    ----------
    model, arguments
        See `Encoder`.
    prompts
        {name: text}, before those of the checkpoint of the same names.
    default_prompt_name
        Which of them texts get that are neither queries nor documents; by default what the checkpoint says.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(model, **arguments)
        settings = self.checkpoint.settings
        stored = {name: text or "" for name, text in (settings.get("prompts") or {}).items()}
        self.prompts: dict[str, str] = {"query": "", "document": ""} | stored | dict(prompts or {})
        self.default_prompt_name: str | None = default_prompt_name or settings.get("default_prompt_name")
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            named = f"default_prompt_name {self.default_prompt_name!r} is none of its prompts {sorted(self.prompts)}"
            if default_prompt_name is not None:
                raise InputError(f"{self.checkpoint.name}: {named}")
            raise ModelError(f"{self.checkpoint.folder / 'config_sentence_transformers.json'}: {named}")

    @property
    def identity(self) -> dict[str, Any]:
        """As every encoder's, and its prompts."""
        return super().identity | {"prompts": dict(self.prompts), "default_prompt_name": self.default_prompt_name}

    @property
    def settings(self) -> dict[str, Any]:
        """As every encoder's, and its prompts."""
        return super().settings | {"prompts": self.prompts, "default_prompt_name": self.default_prompt_name}

    def resolve_prompt(self, prompt: str | None, task: Task | None, prompt_name: str | None = None) -> str:
        """Give the prompt to use: the one given, else the one named, the task's, the checkpoint's default, or none.

        A query's is named "query"; a document's "document", "passage" or "corpus", the first there is. As in
        sentence-transformers these two exist, empty, where a checkpoint names none, and then keep the default out.

        Raises
        ------
        InputError
            For a name that is none of `prompts`.
        """
        if prompt is not None:
            return prompt
        if prompt_name is not None:
            if prompt_name not in self.prompts:
                raise InputError(f"there is no prompt {prompt_name!r}, only {', '.join(map(repr, self.prompts))}")
            return self.prompts[prompt_name]
        names = _PROMPT_NAMES[task] if task is not None else ()
        name = next((name for name in names if name in self.prompts), self.default_prompt_name)
        return self.prompts[name] if name is not None else ""

    @property
    def recipe(self) -> tuple[type[Self], str, dict[str, Any]]:
        """What makes this encoder again in another process: its class, the model, and all arguments but the device."""
        return type(self), self.checkpoint.name, {**self.arguments, **self._subclass_arguments()}

    def start_multi_process_pool(self, target_devices: Sequence[str] | None = None) -> "EncoderWorkers[Self]":
        """Load this encoder in other processes too, for `encode` and `predict` to take as ``pool``.

        Parameters
        ----------
        target_devices
            One process for each: ``["cuda:0", "cuda:1"]``, or ``["cpu"] * 4``; by default every CUDA GPU, without any
            the processor as often as it has cores, at most four times.

        Returns
        -------
        EncoderWorkers
            For a ``with`` block, or to be ended by `stop_multi_process_pool`.
        """
        from retrieve.encoders.workers import EncoderWorkers, default_devices

        devices = default_devices() if target_devices is None else target_devices
        kind, model, arguments = self.recipe
        return EncoderWorkers(kind, model, devices=devices, **arguments)

    @staticmethod
    def stop_multi_process_pool(pool: "EncoderWorkers[Any]") -> None:
        """End the processes of a pool."""
        pool.close()

    def _subclass_arguments(self) -> dict[str, Any]:
        """Give what the kind of encoder was made with, beside what every encoder is."""
        return {}
