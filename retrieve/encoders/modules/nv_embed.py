"""NV-Embed: a Mistral decoder without its causal mask, followed by latent attention."""

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
from retrieve.encoders.modules import Step
from retrieve.encoders.modules.backbone import load_model, usable_length
from retrieve.encoders.modules.latent_attention import LatentAttention
from retrieve.encoders.modules.model_sizes import check_sizes
from retrieve.encoders.modules.module import LoadOptions, read_object, write_json
from retrieve.encoders.modules.tokenizer import load_tokenizer, quiet, save_tokenizer
from retrieve.encoders.modules.transformer import Transformer
from retrieve.encoders.modules.weights import read_named_weights, set_weights

# Defaults of NVIDIA's configuration classes; the published config.json does not set the latents.
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
    """Network of nvidia/NV-Embed-v2 up to the pooling, read from the checkpoint's own layout without its code.

    It computes `token_embeddings`; a mean `Pooling` without the prompt and a `Normalize` turn them into NV-Embed's
    vectors (the default for a checkpoint without modules.json). As in the checkpoint's own `encode`, each text gets a
    last token </s>, which truncation may remove. The length of a prompt is its number of tokens without special ones:
    the <s> before it makes up for its last space ("Query: "), which becomes part of the first word.

    References
    ----------
    Lee et al., "NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models", 2024.
    """

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load both networks and the tokenizer."""
        settings = cls.read_config(folder) if config is None else config
        stored = read_object(folder / "config.json")
        check_sizes(folder, stored)
        with quiet():
            model = _Network.load(folder, stored, options)
            tokenizer = load_tokenizer(folder, options)
        if tokenizer.eos_token is None:
            raise ModelError(f"{folder}: the tokenizer has no end-of-sequence token, which NV-Embed puts after texts")
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
        """Save it in the checkpoint's own layout, with a reference to the code that other tools need to read it."""
        from huggingface_hub import save_torch_model

        write_json(folder / self.config_file, self.saved_config)
        write_json(folder / "config.json", self.model.saved_config)
        with self._tokenizing:
            save_tokenizer(self.tokenizer, folder, self.max_length)
        save_torch_model(self.model, folder)

    def tokenize(
        self, texts: Sequence[Any], prompt: str = "", task: str | None = None, max_length: int | None = None
    ) -> Tokens:
        """Tokenize texts, with a last token </s> unless the text has one or the configuration disables it."""
        if self.model.settings.get("add_eos", True):
            end = self.tokenizer.eos_token
            texts = [text if text.endswith(end) else text + end for text in texts]
        return super().tokenize(texts, prompt, task, max_length)

    def _prompt_length(self, prompt: str) -> int:
        return len(self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])


class _Network(torch.nn.Module):
    """Decoder and latent attention, under the weight names of the checkpoint."""

    def __init__(self, backbone: "_Bidirectional", latent: LatentAttention, settings: dict[str, Any]) -> None:
        super().__init__()
        self.embedding_model, self.latent_attention_model = backbone, latent
        self.settings, self.config = settings, backbone.config

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any], options: LoadOptions) -> Self:
        """Load both networks in the dtype of `options`."""
        text = dict(settings.get("text_config") or {})
        model_type = text.pop("model_type", None)
        if model_type != "bidir_mistral":
            raise ModelError(
                f"{folder / 'config.json'}: the text_config of an nvembed model must have the type 'bidir_mistral', "
                f"not {model_type!r}"
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
        with torch.device("meta"):
            latent = LatentAttention(
                width=config.hidden_size,
                latents=latents["num_latents_value"],
                heads=latents["num_cross_heads"],
                head_width=latents["cross_dim_head"],
            ).to(options.dtype)
        weights = read_named_weights(folder, _LATENT, allow_bin=options.allow_bin)
        set_weights(latent, weights, f"{folder}: the weights {_LATENT}* do not fit")
        return cls(backbone, latent, settings)

    @property
    def saved_config(self) -> dict[str, Any]:
        """Content of config.json, with the repository of the custom classes in their names."""
        settings = copy.deepcopy(self.settings)
        classes = settings.get("auto_map") or _CODE
        settings["auto_map"] = {
            kind: name if "--" in name else f"nvidia/NV-Embed-v2--{name}" for kind, name in classes.items()
        }
        settings.pop("torch_dtype", None)
        return settings | {"dtype": str(self.latent_attention_model.latents.dtype).removeprefix("torch.")}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> BaseModelOutput:
        """Return the token vectors [texts, tokens, width], and those of each layer on request."""
        output = self.embedding_model(input_ids, attention_mask=attention_mask, **options)
        states = tuple(map(self.latent_attention_model, output.hidden_states or ()))
        return BaseModelOutput(
            last_hidden_state=self.latent_attention_model(output.last_hidden_state), hidden_states=states or None
        )


class _Bidirectional(MistralModel):
    """Mistral with bidirectional attention: tokens attend to all tokens of their text."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        # transformers uses a mask of four dimensions as it is, but makes one of two dimensions causal.
        mask = attention_mask.bool()[:, None, None, :].expand(-1, 1, attention_mask.shape[1], -1)
        return super().forward(input_ids, attention_mask=mask, use_cache=False, **options)


def implied_steps(config: Mapping[str, Any]) -> Sequence[Step]:
    """Return the modules implied by NV-Embed's config.json, for a checkpoint without modules.json."""
    excludes_prompt = config.get("is_mask_instruction", True) and config.get("padding_side", "right") == "right"
    steps = [
        Step("Transformer", config={}),
        Step("Pooling", config={"pooling_mode": "mean", "include_prompt": not excludes_prompt}),
    ]
    normalizes = (config.get("latent_attention_config") or {}).get("output_normalize", True)
    return (*steps, Step("Normalize", config={})) if normalizes else steps
