"""PEFT adapters of encoders: several on one model, by task, merged for inference."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from indexing.errors import InputError
from indexing.inputs import shown
from retrieve.encoders.checkpoint import Source, loading, locate

if TYPE_CHECKING:
    from retrieve.encoders.modules.transformer import Transformer


class Adapted:
    """Methods of encoders for adapters such as LoRA, with sentence-transformers' names.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
    """

    network: Any
    modules: Any
    arguments: Any
    organisation: ClassVar[str]
    _task_modules: Mapping[str, list[Any]] = {}
    _task_digests: Mapping[str, list[str]] = {}
    _merged_digests: Sequence[str] = ()
    _history: Sequence[tuple[str, tuple[Any, ...], dict[str, Any]]] = ()

    def add_adapter(self, adapter_config: Any, adapter_name: str = "default") -> None:
        """Add a new adapter to train; all other weights are frozen.

        Parameters
        ----------
        adapter_config
            A configuration of peft, such as ``LoraConfig(r=16, lora_alpha=32)``.
        adapter_name
            Name of the adapter; a saved encoder has one adapter.
        """
        model = self._adaptable()
        self._check_new(model, adapter_name)
        with loading(adapter_name, "the adapter"):
            model.add_adapter(adapter_config, adapter_name)
        model.to(next(iter(model.parameters())).device)
        self._history = (*self._history, ("add_adapter", (), {}))

    def load_adapter(
        self,
        peft_model_id: str | Path,
        adapter_name: str = "default",
        *,
        task: str | None = None,
        is_trainable: bool = False,
        revision: str | None = None,
    ) -> None:
        """Load an adapter from a folder or the Hub, and use it from now on in place of others.

        Parameters
        ----------
        peft_model_id
            A folder with ``adapter_config.json``, or a name on the Hub.
        adapter_name
            Name that the adapter gets here.
        task
            Use it only for texts of this task, such as "query"; see `set_adapter`.
        is_trainable
            Train its weights.
        revision
            Branch, tag or commit on the Hub.

        Raises
        ------
        ModelError
            If it cannot be read or does not fit the model.
        """
        from retrieve.encoders.modules.adapter_files import apply_adapter

        model, allow_bin = self._adaptable(), bool(self.arguments["allow_bin"])
        self._check_new(model, adapter_name)
        chosen = {name: self.arguments[name] for name in ("cache_folder", "local_files_only", "token")}
        folder, _ = locate(
            peft_model_id, Source(revision, allow_bin=allow_bin, **chosen), organisation=self.organisation
        )
        before = self.active_adapters()
        with loading(folder, "the adapter"):
            apply_adapter(model, folder, adapter_name, allow_bin=allow_bin, trainable=is_trainable)
        model.eval()
        given = {"task": task, "revision": revision}
        self._history = (*self._history, ("load_adapter", (str(peft_model_id), adapter_name), given))
        if task is None:
            model.set_adapter(adapter_name)
            return
        self._set_for_task([adapter_name], task)
        self._activate(before)

    def set_adapter(self, adapter_name: str | Sequence[str], *, task: str | None = None) -> None:
        """Use one adapter, or the sum of several, in place of others.

        Parameters
        ----------
        adapter_name
            One name, or several.
        task
            Use them only for texts of this task. Its weights are a merged copy, which shares what the adapters leave
            unchanged, so several threads may encode different tasks at once. Set it again after training.

        Raises
        ------
        InputError
            For an unknown name.
        """
        names = [adapter_name] if isinstance(adapter_name, str) else list(adapter_name)
        known = getattr(self._adaptable(), "peft_config", {})
        for name in names:
            if name not in known:
                raise InputError(f"there is no adapter {name!r}: there are {', '.join(map(repr, known)) or 'none'}")
        self._history = (*self._history, ("set_adapter", (names,), {"task": task}))
        if task is None:
            self._activate(names)
        else:
            self._set_for_task(names, task)

    def disable_adapters(self) -> None:
        """Compute with the base model alone, until `enable_adapters` or `set_adapter`."""
        self._activate([])
        self._history = (*self._history, ("disable_adapters", (), {}))

    def enable_adapters(self) -> None:
        """Use the adapters again that were active before `disable_adapters`."""
        model = self._adaptable()
        if getattr(model, "_hf_peft_config_loaded", False):
            model.enable_adapters()
        self._history = (*self._history, ("enable_adapters", (), {}))

    def active_adapters(self) -> list[str]:
        """Return the names of the adapters in use; those of tasks are not among them."""
        model = self._adaptable()
        layers = list(_tuned(model))
        if not getattr(model, "_hf_peft_config_loaded", False) or all(layer.disable_adapters for layer in layers):
            return []
        return list(dict.fromkeys(name for layer in layers for name in layer.active_adapters))

    def delete_adapter(self, adapter_names: str | Sequence[str]) -> None:
        """Remove adapters from memory."""
        self._adaptable().delete_adapter([adapter_names] if isinstance(adapter_names, str) else list(adapter_names))
        self._history = (*self._history, ("delete_adapter", (adapter_names,), {}))

    def merge_adapters(self) -> None:
        """Add the active adapters to the weights and forget all adapters: the same vectors, without their cost.

        A saved encoder is then a whole model.
        """
        names, model = self.active_adapters(), self._adaptable()
        self._merged_digests = [*self._merged_digests, *(_digest(model, name) for name in names)]
        _merge(model, names)
        self._history = (*self._history, ("merge_adapters", (), {}))

    def _transformers(self) -> "list[Transformer]":
        from retrieve.encoders.modules.transformer import Transformer

        return [module for module in self.network.modules() if isinstance(module, Transformer)]

    def _adaptable(self) -> Any:
        """Return the transformers model that takes adapters."""
        from retrieve.encoders.modules.adapter_files import require_peft

        require_peft("an adapter")
        found = self._transformers()
        if not found or not hasattr(found[0].model, "load_adapter"):
            raise InputError(f"{shown(self)} has no transformer that takes adapters")
        return found[0].model

    def _check_new(self, model: Any, name: str) -> None:
        if name in getattr(model, "peft_config", {}):
            raise InputError(
                f"there is an adapter {name!r} already: choose another adapter_name, or delete_adapter first"
            )

    def _activate(self, names: Sequence[str]) -> None:
        model = self._adaptable()
        if names:
            model.set_adapter(list(names))
            model.enable_adapters()
        elif getattr(model, "_hf_peft_config_loaded", False):
            model.disable_adapters()

    def _modules_for(self, task: str | None) -> list[Any]:
        """Return the modules that run for a task: those with the task's adapters, or the usual ones."""
        from retrieve.encoders.modules.router import modules_for_task

        own = None if task is None else self._task_modules.get(task)
        return modules_for_task(self.modules, task) if own is None else own

    def _set_for_task(self, names: Sequence[str], task: str) -> None:
        from retrieve.encoders.modules.router import modules_for_task
        from retrieve.encoders.modules.transformer import Transformer

        modules = modules_for_task(self.modules, task)
        first = next(module for module in modules if isinstance(module, Transformer))
        changed = {id(weight) for layer in _tuned(first.model) for weight in layer.parameters()}
        shared: dict[int, Any] = {id(first.tokenizer): first.tokenizer, id(first._tokenizing): first._tokenizing}
        for module in modules:
            shared |= {id(weight): weight for weight in module.parameters() if id(weight) not in changed}
        copies = copy.deepcopy(modules, shared)
        _merge(next(module for module in copies if isinstance(module, Transformer)).model, names)
        self._task_modules = {**self._task_modules, task: copies}
        self._task_digests = {**self._task_digests, task: sorted(_digest(first.model, name) for name in names)}

    def _adapter_identity(self) -> dict[str, Any]:
        """Return what adapters add to the identity; nothing without any."""
        loaded = [module.model for module in self._transformers() if getattr(module.model, "peft_config", None)]
        digests = [
            *self._merged_digests,
            *(_digest(model, name) for model in loaded for name in self.active_adapters()),
        ]
        found: dict[str, Any] = {"adapters": sorted(digests)} if digests else {}
        return found | ({"task_adapters": dict(self._task_digests)} if self._task_digests else {})

    def _adapted_kind(self) -> Any:
        """Return what loads this encoder in another process: its class, followed by the same changes of adapters."""
        if any(method == "add_adapter" for method, _, _ in self._history):
            raise InputError(
                "an adapter that was added in memory cannot be loaded in another process: save the encoder"
            )
        return partial(load_adapted, type(self), self._history) if self._history else type(self)


def load_adapted(
    kind: Any, history: Sequence[tuple[str, tuple[Any, ...], dict[str, Any]]], *given: Any, **more: Any
) -> Any:
    """Load an encoder and repeat changes of its adapters."""
    encoder = kind(*given, **more)
    for method, arguments, options in history:
        getattr(encoder, method)(*arguments, **options)
    return encoder


def _tuned(model: Any) -> Iterator[Any]:
    """Yield the layers that adapters change."""
    if not getattr(model, "peft_config", None):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    yield from (module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper))


def _merge(model: Any, names: Sequence[str]) -> None:
    """Add adapters to a model's weights, and remove all adapters from it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    from retrieve.encoders.kernels.packed_linear import forget_packed

    tuned = {id(layer) for layer in _tuned(model)}
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if id(layer) not in tuned:
                continue
            if isinstance(layer, BaseTunerLayer):
                own = [each for each in names if each in _adapters_of(layer)]
                if own:
                    layer.merge(safe_merge=False, adapter_names=own)
                base = layer.get_base_layer()
            else:
                saved = getattr(layer, "modules_to_save", {})
                own = [each for each in names if each in saved]
                base = saved[own[-1]] if own else layer.original_module
            setattr(parent, name, base)
    forget_packed(model)
    if hasattr(model, "peft_config"):
        del model.peft_config
        model._hf_peft_config_loaded = False


def _adapters_of(layer: Any) -> set[str]:
    return {name for part in layer.adapter_layer_names for name in getattr(layer, part, {})}


def _digest(model: Any, name: str) -> str:
    """Return the SHA-256 of an adapter's weights and of the settings that scale them."""
    settings = model.peft_config[name].to_dict()
    kept = {
        key: settings.get(key) for key in ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "alpha_pattern")
    }
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    for key, weight in sorted(model.get_adapter_state_dict(name).items()):
        digest.update(key.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
