"""Encoders with prompts: text that is put before queries and documents."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from indexing.errors import InputError, ModelError
from indexing.inputs import text
from retrieve.encoders.base import PROMPT_NAMES, Encoder, Task

if TYPE_CHECKING:
    from retrieve.encoders.workers import EncoderWorkers


class PromptedEncoder(Encoder):
    """Encoder that puts prompts before texts, or before the first text of a pair.

    Parameters
    ----------
    model, arguments
        See `Encoder`.
    prompts
        {name: text}; they replace the checkpoint's prompts of the same names.
    default_prompt_name
        Name of the prompt for texts that are neither queries nor documents; by default the checkpoint's setting.
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
            problem = f"default_prompt_name {self.default_prompt_name!r} is not in its prompts {sorted(self.prompts)}"
            if default_prompt_name is not None:
                raise InputError(f"{self.checkpoint.name}: {problem}")
            raise ModelError(f"{self.checkpoint.folder / 'config_sentence_transformers.json'}: {problem}")

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the encoder, including its prompts."""
        return super().identity | {"prompts": dict(self.prompts), "default_prompt_name": self.default_prompt_name}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the encoder, including its prompts."""
        return super().settings | {"prompts": self.prompts, "default_prompt_name": self.default_prompt_name}

    def resolve_prompt(self, prompt: str | None, task: Task | None, prompt_name: str | None = None) -> str:
        """Return the prompt to use: `prompt`, or else the one of `prompt_name`, of `task`, the default one, or "".

        The prompt of queries is named "query"; that of documents is the first of "document", "passage" and "corpus".
        As in sentence-transformers, a checkpoint without prompts "query" and "document" gets empty ones, so that the
        default prompt does not apply to queries and documents.

        Raises
        ------
        InputError
            If `prompt_name` is not in `prompts`, or the model has no route for the task.
        """
        self.check_task(task)
        if prompt is not None:
            return text(prompt, "prompt")
        if prompt_name is not None:
            if text(prompt_name, "prompt_name") not in self.prompts:
                raise InputError(f"there is no prompt {prompt_name!r}, only {', '.join(map(repr, self.prompts))}")
            return self.prompts[prompt_name]
        names = PROMPT_NAMES.get(task, ()) if task is not None else ()
        name = next((name for name in names if name in self.prompts), self.default_prompt_name)
        return self.prompts[name] if name is not None else ""

    @property
    def load_arguments(self) -> dict[str, Any]:
        """Arguments, without the model and the device, that load it again."""
        return {**self.arguments, **self._subclass_arguments()}

    @property
    def recipe(self) -> tuple[Callable[..., Self], str, dict[str, Any]]:
        """Class, model and arguments (without the device) that recreate this encoder in another process."""
        return self._adapted_kind(), self.checkpoint.name, self.load_arguments

    def start_multi_process_pool(self, target_devices: Sequence[str] | None = None) -> "EncoderWorkers":
        """Load copies of this encoder in other processes, for the argument ``pool`` of `encode` and `predict`.

        Parameters
        ----------
        target_devices
            The device of each process: ``["cuda:0", "cuda:1"]``, or ``["cpu"] * 4``; by default all CUDA GPUs, or
            without any one process per CPU core, at most four.

        Returns
        -------
        EncoderWorkers
            Use it in a ``with`` block, or close it with `stop_multi_process_pool`.
        """
        from retrieve.encoders.workers import EncoderWorkers, default_devices

        devices = default_devices() if target_devices is None else target_devices
        kind, model, arguments = self.recipe
        return EncoderWorkers(kind, model, devices=devices, **arguments)

    @staticmethod
    def stop_multi_process_pool(pool: "EncoderWorkers") -> None:
        """End the processes of a pool."""
        pool.close()

    def _subclass_arguments(self) -> dict[str, Any]:
        """Return the constructor arguments that only the subclass has."""
        return {}
