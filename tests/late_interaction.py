"""Tiny late-interaction checkpoints with random weights."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from checkpoints import write_bert, write_json

PACKAGE = "sentence_transformers.multi_vector_encoder.modules"


def write_colbert(folder: Path, *, skiplist: list[str] | None = None, projection: bool = True, **lengths) -> Path:
    """A late-interaction checkpoint in the layout of sentence-transformers 6."""
    write_bert(folder, max_position_embeddings=200)
    types = {"": "sentence_transformers.base.modules.transformer.Transformer"}
    if projection:
        types["1_Dense"] = "sentence_transformers.base.modules.dense.Dense"
        write_json(
            folder / "1_Dense" / "config.json",
            {
                "in_features": 32,
                "out_features": 8,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
                "module_input_name": "token_embeddings",
            },
        )
        torch.manual_seed(4)
        save_file({"linear.weight": torch.randn(8, 32)}, folder / "1_Dense" / "model.safetensors")
    types["2_MultiVectorMask"] = f"{PACKAGE}.multi_vector_mask.MultiVectorMask"
    write_json(folder / "2_MultiVectorMask" / "config.json", {"skiplist_words": skiplist or []})
    types["3_Normalize"] = "sentence_transformers.base.modules.normalize.Normalize"
    write_json(
        folder / "3_Normalize" / "config.json",
        {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"},
    )
    entries = [{"idx": at, "name": str(at), "path": path, "type": types[path]} for at, path in enumerate(types)]
    write_json(folder / "modules.json", entries)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 100, **lengths})
    write_json(folder / "config_sentence_transformers.json", {"model_type": "MultiVectorEncoder"})
    return folder
