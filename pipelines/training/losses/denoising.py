"""TSDAE: reconstruct a text from the vector of a damaged copy of it, without labels.

References
----------
Wang, Reimers and Gurevych, "TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder for Unsupervised Sentence
Embedding Learning", 2021.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss, Features, check_columns


class DenoisingAutoEncoderLoss(EmbeddingLoss):
    """The cross-entropy of the tokens of (damaged text, text), from a decoder that reads the damaged text's vector.

    The decoder is trained with the model and not saved with it. `damaged` makes the first column.

    Parameters
    ----------
    decoder_name_or_path
        Decoder's checkpoint, of the encoder's hidden size; by default the encoder's own.
    tie_encoder_decoder
        Share the weights that both have. The decoder is then the encoder's own checkpoint.
    """

    def __init__(self, model: Any, decoder_name_or_path: str | None = None, tie_encoder_decoder: bool = True) -> None:
        super().__init__(model)
        self._encoder = model
        if decoder_name_or_path is None and not tie_encoder_decoder:
            raise InputError("tie_encoder_decoder=False needs a decoder_name_or_path")
        transformer = _transformer(model)
        source = transformer.model.config._name_or_path if tie_encoder_decoder else str(decoder_name_or_path)
        self.decoder_name_or_path, self.tie_encoder_decoder = source, tie_encoder_decoder
        self.decoder, own_tokenizer = _load_decoder(source, transformer, local_only=model.arguments["local_files_only"])
        self.decoder.to(self.model.device)
        own = transformer.tokenizer
        self._tokenizer = own if tie_encoder_decoder or isinstance(own, type(own_tokenizer)) else own_tokenizer
        self._read_by = own
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if tie_encoder_decoder:
            if len(own) != self.decoder.config.vocab_size and len(own) != len(own_tokenizer):
                self.decoder.resize_token_embeddings(len(own))
            _tie(transformer.model, self.decoder)

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Tensor:
        """Embed the damaged texts and return the mean over the tokens of the others."""
        damaged, target = check_columns(list(columns), 2, 2, "DenoisingAutoEncoderLoss", "damaged text, text")
        tokens = target["input_ids"] if self._tokenizer is self._read_by else self._tokenized_again(target)
        vectors = self.embed(damaged)
        logits = self.decoder(
            input_ids=tokens[:, :-1],
            encoder_hidden_states=vectors[:, None],
            encoder_attention_mask=damaged["attention_mask"][:, :1],
            use_cache=False,
        )[0]
        return F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), ignore_index=self._tokenizer.pad_token_id
        )

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Raise InputError: the loss reads tokens, so no loss can wrap it."""
        raise InputError("DenoisingAutoEncoderLoss reads the tokens of the texts: use it without a wrapper loss")

    def _tokenized_again(self, target: Features) -> Tensor:
        texts = self._read_by.batch_decode(
            target["input_ids"], skip_special_tokens=True, clean_up_tokenization_spaces=True
        )
        encoded = self._tokenizer(texts, padding=True, truncation="longest_first", return_tensors="pt")
        tokens: Tensor = encoded["input_ids"].to(target["input_ids"].device)
        return tokens


def _transformer(model: Any) -> Any:
    found = model._transformers() if hasattr(model, "_transformers") else []
    if len(found) != 1 or found[0].transformer_task != "feature-extraction":
        raise InputError(
            "DenoisingAutoEncoderLoss trains a dense encoder with one transformer, and this model has "
            f"{len(found) or 'none'}"
        )
    return found[0]


def _load_decoder(source: str, transformer: Any, *, local_only: bool) -> tuple[Any, Any]:
    """Return a decoder with cross-attention and the tokenizer of its checkpoint."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(source, local_files_only=local_only)
    config.is_decoder = config.add_cross_attention = True
    try:
        decoder: Any = AutoModelForCausalLM.from_pretrained(source, config=config, local_files_only=local_only)
    except ValueError as error:
        raise InputError(
            f"{source}: transformers has no decoder of the type {config.model_type}: set decoder_name_or_path to "
            "another model, and tie_encoder_decoder=False"
        ) from error
    if config.hidden_size != transformer.model.config.hidden_size:
        raise InputError(
            f"{source}: the decoder's hidden size is {config.hidden_size}, the encoder's "
            f"{transformer.model.config.hidden_size}: choose a decoder of the same size"
        )
    return decoder.float(), AutoTokenizer.from_pretrained(source, local_files_only=local_only)


def _tie(encoder: nn.Module, decoder: Any) -> None:
    """Make the decoder use the encoder's weights, also where the decoder itself uses one twice."""
    base = getattr(decoder, decoder.base_model_prefix)
    own = dict(encoder.named_parameters())
    shared = {
        id(old): own[name] for name, old in base.named_parameters() if name in own and old.shape == own[name].shape
    }
    if not shared:
        raise InputError("the decoder has no weights of the encoder's names: set tie_encoder_decoder=False")
    for module in decoder.modules():
        for name, old in list(module._parameters.items()):
            if id(old) in shared:
                module._parameters[name] = shared[id(old)]
