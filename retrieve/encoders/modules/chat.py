"""Rendering of texts and pairs as chat messages by a tokenizer's chat template."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any

from indexing.errors import ModelError
from indexing.plurals import counted
from retrieve.encoders.modules.weights import first_line

PAIR_ROLES = ("query", "document")

# Model types that take plain strings, whatever their templates look like.
_FLAT_MODELS = {"apertus", "deepseek_v3", "gpt_oss", "seed_oss"}
# Signs in a template that a message's content is a list of parts.
_STRUCTURED_MARKERS = ("content[0]", ".type", "'type'", '"type"', "message.content[")
_MOST_STEPS = 200_000
"""Lines of a template that may run for one text."""
# Two texts whose last tokens differ, so that a common ending of their chats comes from the template.
_FILLERS = ("0", "1 2 3 4")
# A pair, and the same pair with another query or another document.
_PROBES = (("alpha", "bravo"), ("charlie", "bravo"), ("alpha", "foxtrot"))
# Stored arguments for the tokenizer rather than the template; padding and truncation are done here.
_TOKENIZER_ARGUMENTS = {"padding", "truncation", "max_length", "return_tensors", "restore_suffix"}


class ChatTemplate:
    """Chat template of a tokenizer, applied to texts and pairs as in sentence-transformers 6.2.

    A text becomes a message of the role "user", a pair two messages of the roles "query" and "document", and a prompt
    a system message before them.

    Parameters
    ----------
    tokenizer
        Tokenizer of transformers with a chat template.
    structured
        Whether a message's content is a list of typed parts instead of a string.
    arguments
        Further arguments of the template.
    """

    def __init__(self, tokenizer: Any, *, structured: bool, arguments: Mapping[str, Any] | None = None) -> None:
        self._tokenizer, self.structured, self.arguments = tokenizer, structured, dict(arguments or {})
        self._closing_tokens: dict[tuple[str, bool], list[int]] = {}
        self._pairs_checked = self._tried = False

    @classmethod
    def of(
        cls, folder: Path, settings: Mapping[str, Any], tokenizer: Any, *, plain: bool, task: str, model_type: str
    ) -> "ChatTemplate | None":
        """Return the chat template of a model, or None if it reads plain texts.

        It is used if the settings name messages in `modality_config` (older releases saved none), or if this is a
        `plain` transformers checkpoint whose tokenizer has a template.

        Raises
        ------
        ModelError
            If the tokenizer has no template, or the template needs arguments that are not supported here.
        """
        template = getattr(tokenizer, "chat_template", None)
        modalities = settings.get("modality_config") or {}
        stored = settings.get("processing_kwargs") or {}
        unsupported = sorted(set(stored) - {"chat_template"})
        if unsupported:
            raise ModelError(f"{folder}: processing_kwargs for {', '.join(unsupported)} are not supported")
        if "message" not in modalities and not (plain and template):
            return None
        if not template:
            raise ModelError(f"{folder}: the model reads chats, but its tokenizer has no chat template")
        source = template if isinstance(template, str) else "\n".join(template.values())
        if task not in ("text-generation", "sequence-classification") and _uses_task(source):
            raise ModelError(f"{folder}: the chat template depends on the task, which is not passed to it here")
        form = modalities.get("message", {}).get("format", "auto")
        if form == "auto":
            flat = isinstance(template, str) and not any(marker in template for marker in _STRUCTURED_MARKERS)
            form = "flat" if flat or model_type in _FLAT_MODELS else "structured"
        options = stored.get("chat_template", {}).items()
        arguments = {name: value for name, value in options if name not in _TOKENIZER_ARGUMENTS}
        return cls(tokenizer, structured=form == "structured", arguments=arguments)

    @property
    def config(self) -> dict[str, Any]:
        """Settings in sentence-transformers' format."""
        return {"format": "structured" if self.structured else "flat"}

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the rendering, in JSON values."""
        template = repr(self._tokenizer.chat_template).encode()
        return {"template_sha256": sha256(template).hexdigest(), "arguments": self.arguments, **self.config}

    def render(self, texts: Sequence[Any], prompt: str = "") -> list[str]:
        """Render texts or pairs of texts as chats.

        Raises
        ------
        ModelError
            If the template fails, or omits a text of a pair.
        """
        if texts and not isinstance(texts[0], str):
            self._check_pairs()
        return self._apply([self._messages(text, prompt) for text in texts])

    def closing_tokens(self, prompt: str, *, pairs: bool) -> list[int]:
        """Return the tokens that the template puts after every text, which truncation would remove."""
        if (prompt, pairs) not in self._closing_tokens:
            chats = self._apply([self._messages((filler,) * 2 if pairs else filler, prompt) for filler in _FILLERS])
            first, second = (self._tokenizer(chat, add_special_tokens=False)["input_ids"] for chat in chats)
            common = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(first), reversed(second), strict=False))
            count = len(list(common))
            closing = first[len(first) - count :] if count < min(len(first), len(second)) else []
            self._closing_tokens[prompt, pairs] = closing
        return self._closing_tokens[prompt, pairs]

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
            if not self._tried:
                with _bounded_steps():
                    self._tokenizer.apply_chat_template(chats[:1], tokenize=False, **self.arguments)
                self._tried = True
            rendered: list[str] = self._tokenizer.apply_chat_template(chats, tokenize=False, **self.arguments)
        except Exception as error:  # a template may raise anything
            raise ModelError(f"the checkpoint's chat template fails: {first_line(error)}") from error
        return rendered

    def _check_pairs(self) -> None:
        """Raise ModelError if the template omits a role of a pair, so that the model cannot tell pairs apart."""
        if self._pairs_checked:
            return
        base, *varied = self._apply([self._messages(pair, "") for pair in _PROBES])
        omitted = [role for role, chat in zip(PAIR_ROLES, varied, strict=True) if chat == base]
        if omitted:
            raise ModelError(
                f"the checkpoint's chat template omits the messages of the roles {' and '.join(map(repr, omitted))}, "
                "so the model cannot score pairs; add a chat_template.jinja that renders both"
            )
        self._pairs_checked = True


@contextmanager
def _bounded_steps() -> Iterator[None]:
    """Raise ValueError when a template takes too many steps; as counting them is slow, only its first use is traced."""
    previous, steps = sys.gettrace(), 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        if frame.f_code.co_filename != "<template>":
            return None
        steps += 1
        if steps > _MOST_STEPS:
            raise ValueError(f"it takes over {counted(_MOST_STEPS, 'step')} for one text")
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(previous)


def _uses_task(template: str) -> bool:
    from jinja2 import Environment, meta

    try:
        parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except Exception:  # transformers supports further tags; a template that is really broken fails when applied
        return False
    return "task" in meta.find_undeclared_variables(parsed)
