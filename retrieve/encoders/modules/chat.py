"""Texts and pairs as the messages of a chat, rendered by a tokenizer's own template."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import Any

from indexing.errors import ModelError
from retrieve.encoders.modules.weights import first_line

PAIR_ROLES = ("query", "document")

# Known to want plain strings, whatever their templates look like.
_FLAT_MODELS = {"apertus", "deepseek_v3", "gpt_oss", "seed_oss"}
# In a template they mean that a message's content is a list of parts.
_STRUCTURED_MARKERS = ("content[0]", ".type", "'type'", '"type"', "message.content[")
# Of two fillers whose tokens differ from the last on, so that what both end in is the template's.
_FILLERS = ("0", "1 2 3 4")
_PROBES = (("alpha", "bravo"), ("charlie", "bravo"), ("alpha", "foxtrot"))
# Arguments to the tokenizer rather than to the template; padding and truncating are done here.
_SIZES = {"padding", "truncation", "max_length", "return_tensors", "restore_suffix"}


class ChatTemplate:
    """How a model that reads chats is given texts, as sentence-transformers 6.2 does it.

    A text is a message of the user's; a pair is one message of the role "query" and one of "document"; a prompt is a
    system message before them.

    Parameters
    ----------
    tokenizer
        Of transformers, with a chat template.
    structured
        Whether a message's content is a list of typed parts instead of a string.
    arguments
        Further ones for the template.
    """

    def __init__(self, tokenizer: Any, *, structured: bool, arguments: Mapping[str, Any] | None = None) -> None:
        self._tokenizer, self.structured, self.arguments = tokenizer, structured, dict(arguments or {})
        self._ends: dict[tuple[str, bool], list[int]] = {}
        self._carries_pairs = False

    @classmethod
    def of(
        cls, folder: Path, settings: Mapping[str, Any], tokenizer: Any, *, plain: bool, task: str, model_type: str
    ) -> "ChatTemplate | None":
        """Give the template that a model's texts go through, if they do.

        Its settings say so in their `modality_config`; one without, saved by an older release, reads plain texts, and
        a `plain` transformers checkpoint is a chat's wherever its tokenizer has a template.

        Raises
        ------
        ModelError
            When the tokenizer lacks the template, or it wants what it is not given here.
        """
        template = getattr(tokenizer, "chat_template", None)
        modalities = settings.get("modality_config") or {}
        stored = settings.get("processing_kwargs") or {}
        ignored = sorted(set(stored) - {"chat_template"})
        if ignored:
            raise ModelError(f"{folder}: processing_kwargs for {', '.join(ignored)} are not known here")
        if "message" not in modalities and not (plain and template):
            return None
        if not template:
            raise ModelError(f"{folder}: the model reads chats, and its tokenizer has no chat template")
        written = template if isinstance(template, str) else "\n".join(template.values())
        if task not in ("text-generation", "sequence-classification") and _asks_for_task(written):
            raise ModelError(f"{folder}: the chat template depends on the task, which it is not told here")
        form = modalities.get("message", {}).get("format", "auto")
        if form == "auto":
            flat = isinstance(template, str) and not any(sign in template for sign in _STRUCTURED_MARKERS)
            form = "flat" if flat or model_type in _FLAT_MODELS else "structured"
        arguments = {name: value for name, value in stored.get("chat_template", {}).items() if name not in _SIZES}
        return cls(tokenizer, structured=form == "structured", arguments=arguments)

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, as sentence-transformers stores them."""
        return {"format": "structured" if self.structured else "flat"}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides how it renders, in JSON values."""
        template = repr(self._tokenizer.chat_template).encode()
        return {"template_sha256": sha256(template).hexdigest(), "arguments": self.arguments, **self.config}

    def render(self, texts: Sequence[Any], prompt: str = "") -> list[str]:
        """Write texts, or pairs of texts, as chats.

        Raises
        ------
        ModelError
            When the template fails, or leaves out a part of a pair.
        """
        if texts and not isinstance(texts[0], str):
            self._check_pairs()
        return self._apply([self._messages(text, prompt) for text in texts])

    def end(self, prompt: str, *, pairs: bool) -> list[int]:
        """Give the tokens that the template puts behind every text, which truncating would take away."""
        if (prompt, pairs) not in self._ends:
            chats = self._apply([self._messages((filler,) * 2 if pairs else filler, prompt) for filler in _FILLERS])
            first, second = (self._tokenizer(chat, add_special_tokens=False)["input_ids"] for chat in chats)
            same = takewhile(lambda both: both[0] == both[1], zip(reversed(first), reversed(second), strict=False))
            count = len(list(same))
            self._ends[prompt, pairs] = first[len(first) - count :] if count < min(len(first), len(second)) else []
        return self._ends[prompt, pairs]

    def _messages(self, text: Any, prompt: str) -> list[dict[str, Any]]:
        parts = [("user", text)] if isinstance(text, str) else list(zip(PAIR_ROLES, text, strict=True))
        if prompt:
            parts.insert(0, ("system", prompt))
        return [
            {"role": role, "content": [{"type": "text", "text": part}] if self.structured else part}
            for role, part in parts
        ]

    def _apply(self, chats: list[list[dict[str, Any]]]) -> list[str]:
        try:
            rendered: list[str] = self._tokenizer.apply_chat_template(chats, tokenize=False, **self.arguments)
        except Exception as error:  # a template raises what it likes
            raise ModelError(f"the checkpoint's chat template fails: {first_line(error)}") from error
        return rendered

    def _check_pairs(self) -> None:
        """Refuse a template that knows the roles of a conversation only: every pair would look alike to the model."""
        if self._carries_pairs:
            return
        base, *varied = self._apply([self._messages(pair, "") for pair in _PROBES])
        lost = [role for role, chat in zip(PAIR_ROLES, varied, strict=True) if chat == base]
        if lost:
            raise ModelError(
                f"the checkpoint's chat template leaves out the messages of the roles {' and '.join(map(repr, lost))}, "
                "so the model cannot score pairs; give it a chat_template.jinja that writes both"
            )
        self._carries_pairs = True


def _asks_for_task(template: str) -> bool:
    from jinja2 import Environment, meta

    try:
        parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except Exception:  # transformers knows further tags; a template it cannot read fails when it is applied
        return False
    return "task" in meta.find_undeclared_variables(parsed)
