"""NV-Embed: a Mistral decoder without its causal mask, and latent attention over what it gives."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import MistralConfig, MistralModel
from transformers.modeling_outputs import BaseModelOutput

from indexing.errors import ModelError
from retrieve.encoders.batching import Tokens
from retrieve.encoders.checkpoint import Step
from retrieve.encoders.modules.backbone import load_model, usable_length
from retrieve.encoders.modules.latent_attention import LatentAttention
from retrieve.encoders.modules.module import LoadOptions, read_json, write_json
from retrieve.encoders.modules.tokenizer import load_tokenizer, quiet, save_tokenizer
from retrieve.encoders.modules.transformer import Transformer
from retrieve.encoders.modules.weights import fill, read_named_weights

# What NVIDIA's configuration classes say where config.json is silent, as the published one is on the latents.
_LATENTS = {
    "num_latents_value": 512,
    "num_cross_heads": 8,
    "hidden_dim": 4096,
    "latent_dim": 4096,
    "cross_dim_head": 4096,
}
_BACKBONE, _LATENT = "embedding_model.", "latent_attention_model."
_CODE = {"AutoConfig": "configuration_nvembed.NVEmbedConfig", "AutoModel": "modeling_nvembed.NVEmbedModel"}


class NVEmbed(Transformer):
    """nvidia/NV-Embed-v2's network, of the checkpoint's own layout and without its code, up to the pooling.

    Gives `token_embeddings`; a `Pooling` by the mean without the prompt and a `Normalize` make them NV-Embed's vectors
    (a checkpoint without modules.json gets these). As its own `encode` does, each text gets a last token </s> (which
    truncating takes away again), and of a prompt as many leading tokens count as it has without special ones: the <s>
    before it makes up for its last space ("Query: "), which becomes part of the first word.

    References
    ----------
    Lee et al., "NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models", 2024.
    """

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load both networks, each from its share of the weights, and the tokenizer."""
        settings = cls.read_config(folder) if config is None else config
        stored = read_json(folder / "config.json")
        with quiet():
            model = _Network.load(folder, stored, options)
            tokenizer = load_tokenizer(folder, options)
        if tokenizer.eos_token is None:
            raise ModelError(f"{folder}: the tokenizer has no end-of-sequence token, which NV-Embed puts behind texts")
        tokenizer.padding_side = stored.get("padding_side", "right")
        if stored.get("add_pad_token", True):
            tokenizer.pad_token = tokenizer.eos_token
        return cls(
            model.eval(),
            tokenizer,
            transformer_task="feature-extraction",
            max_length=usable_length(options.max_length or settings.get("max_seq_length"), tokenizer, model),
            do_lower_case=bool(settings.get("do_lower_case")),
        )

    def save(self, folder: Path) -> None:
        """Write it in its own layout; the code that other tools need to read it is named, not written."""
        from huggingface_hub import save_torch_model

        write_json(folder / self.config_file, self.saved_config)
        write_json(folder / "config.json", self.model.saved_config)
        with self._tokenizing:
            save_tokenizer(self.tokenizer, folder, self.max_length)
        save_torch_model(self.model, folder)

    def tokenize(self, texts: Sequence[Any], prompt: str = "") -> Tokens:
        """Cut texts into tokens, </s> last where the configuration wants it and the text has none."""
        if self.model.settings.get("add_eos", True):
            end = self.tokenizer.eos_token
            texts = [text if text.endswith(end) else text + end for text in texts]
        return super().tokenize(texts, prompt)

    def _prompt_length(self, prompt: str) -> int:
        return len(self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])


class _Network(torch.nn.Module):
    """The decoder and the latent attention, under the names that checkpoints give their weights."""

    def __init__(self, backbone: "_Bidirectional", latent: LatentAttention, settings: dict[str, Any]) -> None:
        super().__init__()
        self.embedding_model, self.latent_attention_model = backbone, latent
        self.settings, self.config = settings, backbone.config

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any], options: LoadOptions) -> Self:
        """Load both, in the dtype that transformers compute in."""
        text = dict(settings.get("text_config") or {})
        kind = text.pop("model_type", None)
        if kind != "bidir_mistral":
            raise ModelError(
                f"{folder / 'config.json'}: text_config is of the type {kind!r}, and of an nvembed model "
                "only 'bidir_mistral' can be run here"
            )
        for name in ("architectures", "auto_map", "_name_or_path", "torch_dtype", "dtype"):
            text.pop(name, None)
        latents = _LATENTS | (settings.get("latent_attention_config") or {})
        config = MistralConfig(**text)
        if {latents["hidden_dim"], latents["latent_dim"]} != {config.hidden_size}:
            raise ModelError(
                f"{folder / 'config.json'}: hidden_dim {latents['hidden_dim']} and latent_dim {latents['latent_dim']} "
                f"of latent_attention_config must be the hidden_size {config.hidden_size} of text_config"
            )
        backbone = load_model(_Bidirectional, folder, config, options, prefix=_BACKBONE)
        latent = LatentAttention(
            width=config.hidden_size,
            latents=latents["num_latents_value"],
            heads=latents["num_cross_heads"],
            head_width=latents["cross_dim_head"],
        ).to(options.dtype)
        weights = read_named_weights(folder, _LATENT, allow_bin=options.allow_bin)
        fill(latent, weights, f"{folder}: the weights {_LATENT}* do not fit")
        return cls(backbone, latent, settings)

    @property
    def saved_config(self) -> dict[str, Any]:
        """Its config.json, in which the classes that read it elsewhere are named by the repository that has them."""
        settings = copy.deepcopy(self.settings)
        named = settings.get("auto_map") or _CODE
        settings["auto_map"] = {
            kind: name if "--" in name else f"nvidia/NV-Embed-v2--{name}" for kind, name in named.items()
        }
        settings.pop("torch_dtype", None)
        return settings | {"dtype": str(self.latent_attention_model.latents.dtype).removeprefix("torch.")}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> BaseModelOutput:
        """Give [texts, tokens, width], and of each layer on request."""
        output = self.embedding_model(input_ids, attention_mask=attention_mask, **options)
        states = tuple(map(self.latent_attention_model, output.hidden_states or ()))
        return BaseModelOutput(
            last_hidden_state=self.latent_attention_model(output.last_hidden_state), hidden_states=states or None
        )


class _Bidirectional(MistralModel):
    """Mistral, whose tokens attend to all others of their text, before them and behind, however far away."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        # A mask of four dimensions is taken as it is; transformers makes one of two causal.
        mask = attention_mask.bool()[:, None, None, :].expand(-1, 1, attention_mask.shape[1], -1)
        return super().forward(input_ids, attention_mask=mask, use_cache=False, **options)


def implied_steps(config: Mapping[str, Any]) -> Sequence[Step]:
    """Give the modules that NV-Embed's config.json implies where there is no modules.json."""
    leaves_prompt_out = config.get("is_mask_instruction", True) and config.get("padding_side", "right") == "right"
    steps = [
        Step("Transformer", config={}),
        Step("Pooling", config={"pooling_mode": "mean", "include_prompt": not leaves_prompt_out}),
    ]
    normalizes = (config.get("latent_attention_config") or {}).get("output_normalize", True)
    return (*steps, Step("Normalize", config={})) if normalizes else steps
