"""Transformers as ONNX or OpenVINO graphs, written by `Encoder.export` or by others."""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from indexing.errors import InputError, ModelError

logger = logging.getLogger(__name__)

Format = Literal["onnx", "openvino"]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_FILES: dict[Format, tuple[str, ...]] = {
    "onnx": ("onnx/model.onnx", "model.onnx"),
    "openvino": ("openvino/openvino_model.xml", "openvino_model.xml"),
}
_PACKAGES: dict[Format, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
_OUTPUTS = {"feature-extraction": "last_hidden_state", "sequence-classification": "logits"}
_TRACED_TOKENS = 8


def exported_file(folder: Path) -> tuple[Format, Path] | None:
    """Return the graph in a checkpoint that holds no weights, or None."""
    if any(path for name in ("model*.safetensors", "pytorch_model*.bin") for path in folder.glob(name)):
        return None
    for kind, names in _FILES.items():
        for name in names:
            if (folder / name).is_file():
                return kind, folder / name
    return None


def graph_files(folder: Path) -> list[Path]:
    """Return the files of the graph in a checkpoint that holds no weights."""
    found = exported_file(folder)
    return [] if found is None else sorted(path for path in found[1].parent.iterdir() if path.stem == found[1].stem)


class ExportedModel(torch.nn.Module):
    """A graph in place of a transformers model.

    Parameters
    ----------
    config
        Configuration of the transformers model.
    kind, path
        Format and file of the graph.
    task
        ``"feature-extraction"`` or ``"sequence-classification"``.
    """

    def __init__(self, config: Any, kind: Format, path: Path, task: str) -> None:
        super().__init__()
        if task not in _OUTPUTS:
            raise ModelError(f"{path}: a graph for {task} is not read: there are {', '.join(_OUTPUTS)}")
        self.config, self.kind, self.path, self._task = config, kind, path, task
        self._run, self._names = _session(kind, path)

    def forward(self, *, return_dict: bool = True, **inputs: Tensor) -> Any:
        """Return the output of the task, float32."""
        from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

        given = {name: inputs[name].cpu().numpy() for name in self._names if name in inputs}
        for name in set(self._names) - given.keys():
            given[name] = torch.zeros_like(inputs["input_ids"]).cpu().numpy()
        output = torch.from_numpy(self._run(given)).float()
        if self._task == "sequence-classification":
            return SequenceClassifierOutput(logits=output)
        return BaseModelOutput(last_hidden_state=output)

    def save_pretrained(self, folder: Path) -> None:
        """Copy the graph and write the configuration."""
        self.config.save_pretrained(folder)
        target = folder / _FILES[self.kind][0]
        target.parent.mkdir(exist_ok=True)
        for path in self.path.parent.iterdir():
            if path.stem == self.path.stem:
                shutil.copy(path, target.with_suffix(path.suffix))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the engine: a copy opens its own."""
        return {name: value for name, value in vars(self).items() if name not in ("_run", "_names")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the graph again."""
        super().__setstate__(state)
        self._run, self._names = _session(self.kind, self.path)


def _session(kind: Format, path: Path) -> tuple[Any, list[str]]:
    """Return a function from named arrays to the first output, and the names of its inputs.

    The engine gets torch's number of threads: its own choice is a thread for each core, also where torch has fewer.
    """
    threads = torch.get_num_threads()
    try:
        if kind == "onnx":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return lambda given: session.run(None, given)[0], [each.name for each in session.get_inputs()]
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        return lambda given: compiled(given)[0].copy(), [each.get_any_name() for each in compiled.inputs]
    except ImportError as error:
        package = _PACKAGES[kind]
        raise InputError(f"{path} needs the package {package}: pip install {package}") from error
    except Exception as error:  # the engines raise errors of their own
        raise ModelError(f"{path}: {kind} cannot read the graph ({str(error).splitlines()[0][:200]})") from error


def check_exportable(model: Any, task: str, kind: str) -> None:
    """Raise InputError for an unknown format, or a task that has no graph here."""
    if kind not in _FILES:
        raise InputError(f"the format must be onnx or openvino, not {kind!r}")
    if task not in _OUTPUTS or isinstance(model, ExportedModel):
        raise InputError(f"a model for {task} cannot be exported here: there are {', '.join(_OUTPUTS)}, with weights")


def write_graph(model: Any, task: str, kind: Format, folder: Path, *, type_ids: bool) -> None:
    """Write a transformers model as a graph into a checkpoint.

    Raises
    ------
    InputError
        Without the package that writes it.
    """
    names = [name for name in _INPUTS if name != "token_type_ids" or type_ids]
    example = {name: torch.ones(2, _TRACED_TOKENS, dtype=torch.long) for name in names}
    if type_ids:
        example["token_type_ids"] *= 0
    example["attention_mask"][1, _TRACED_TOKENS // 2 :] = 0
    path = folder / _FILES[kind][0]
    path.parent.mkdir(exist_ok=True)
    with _traceable(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = _Output(model, names, _OUTPUTS[task]).eval()
        (_write_onnx if kind == "onnx" else _write_openvino)(traced, example, _OUTPUTS[task], path)


class _Output(torch.nn.Module):
    """A model with one output and positional inputs."""

    def __init__(self, model: Any, names: list[str], output: str) -> None:
        super().__init__()
        self.model, self._names, self._output = model, names, output

    def forward(self, *inputs: Tensor) -> Any:
        found = self.model(**dict(zip(self._names, inputs, strict=True)), return_dict=True)
        return getattr(found, self._output)


@contextmanager
def _traceable(model: Any) -> Iterator[None]:
    """Compute attention by plain operations, on the CPU in float32, while a model is traced."""
    device, dtype = model.device, model.dtype
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        model.to("cpu", torch.float32)
        yield
    finally:
        model.to(device, dtype)
        model.set_attn_implementation(attention)


def _write_onnx(model: torch.nn.Module, example: dict[str, Tensor], output: str, path: Path) -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise InputError("export('onnx') needs the package onnx: pip install 'retrieve-rerank[onnx]'") from error
    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        model,
        tuple(example.values()),
        str(path),
        input_names=list(example),
        output_names=[output],
        dynamic_axes={**dict.fromkeys(example, axes), output: {0: "batch"} if output == "logits" else axes},
        opset_version=17,
        dynamo=False,
    )


def _write_openvino(model: torch.nn.Module, example: dict[str, Tensor], output: str, path: Path) -> None:
    try:
        import openvino
    except ImportError as error:
        raise InputError(
            "export('openvino') needs the package openvino: pip install 'retrieve-rerank[openvino]'"
        ) from error
    graph = openvino.convert_model(model, example_input=tuple(example.values()))
    for port, name in zip(graph.inputs, example, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    graph.outputs[0].get_tensor().set_names({output})
    openvino.save_model(graph, str(path), compress_to_fp16=False)
