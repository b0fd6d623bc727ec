"""Lengths of queries and documents, and the expansion of queries to a fixed number of tokens."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from indexing.errors import ModelError
from indexing.plurals import counted
from retrieve.encoders.modules.backbone import usable_length
from retrieve.encoders.modules.module import LoadOptions, check_settings

_NO_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class QueryExpansion:
    """Expansion of queries by additional tokens, whose vectors are scored like those of words.

    Khattab and Zaharia, "ColBERT", 2020, section 3.2, "query augmentation".

    Parameters
    ----------
    strategy
        "fixed": every query has exactly `length` tokens. "min": every query has at least `length` tokens.
    length
        Number of tokens.
    attend
        Whether the other tokens attend to the additional ones.
    token
        The additional token; by default the mask token, or else the end-of-sequence token.
    """

    strategy: Literal["fixed", "min"]
    length: int = field(metadata={"min": 1, "is": "the number of tokens of an expanded query"})
    attend: bool = False
    token: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], where: Path) -> Self:
        """Read the settings of a checkpoint; raise ModelError for a wrong one."""
        unknown = sorted(set(settings) - {item.name for item in fields(cls)})
        if unknown:
            raise ModelError(f"{where}: query_expansion has no setting {', '.join(map(repr, unknown))}")
        return cls(**check_settings(cls, settings, where))

    def token_id(self, tokenizer: Any, where: Path) -> int:
        """Return the id of the additional token; raise ModelError if the tokenizer does not have it."""
        if self.token is None:
            token = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.eos_token_id
        else:
            token = tokenizer.convert_tokens_to_ids(self.token)
            if token == tokenizer.unk_token_id and self.token != tokenizer.unk_token:
                token = None
        if token is None:
            name = "a mask token or an end-of-sequence token" if self.token is None else repr(self.token)
            raise ModelError(f"{where}: queries are expanded, but the tokenizer does not have {name}")
        return int(token)


@dataclass(frozen=True, slots=True)
class TaskLengths:
    """Maximum tokens of queries and of documents, instead of the model's own, and the expansion of queries."""

    query_length: int | None = None
    document_length: int | None = None
    query_expansion: QueryExpansion | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], where: Path) -> Self:
        """Read the settings of a checkpoint; raise ModelError for a wrong one."""
        expansion = settings.get("query_expansion")
        lengths = cls(
            settings.get("query_length"),
            settings.get("document_length"),
            None if expansion is None else QueryExpansion.of(expansion, where),
        )
        if lengths.query_expansion and (lengths.query_length or 1 << 30) < lengths.query_expansion.length:
            raise ModelError(
                f"{where}: query_length is {lengths.query_length}, but queries are expanded to "
                f"{counted(lengths.query_expansion.length, 'token')}"
            )
        return lengths

    @property
    def config(self) -> dict[str, Any]:
        """Those that are set, in JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def limit(self, task: str | None, max_length: int | None, chosen: int | None = None) -> int | None:
        """Return the number of tokens that a text of this task is truncated to; None for no limit.

        Parameters
        ----------
        max_length
            The model's own length.
        chosen
            Length to use instead of the task's, where queries do not have a fixed one.
        """
        expansion = self.query_expansion if task == "query" else None
        if expansion is not None and expansion.strategy == "fixed":
            return expansion.length
        if chosen is not None:
            return max(min(chosen, max_length or chosen), expansion.length if expansion else 1)
        own = {"query": self.query_length, "document": self.document_length}.get(task or "")
        return own or max_length

    def at_most(self, positions: int | None) -> Self:
        """Return lengths that are not above the number of positions of the model."""
        if positions is None:
            return self
        expansion = self.query_expansion and replace(
            self.query_expansion, length=min(self.query_expansion.length, positions)
        )
        query, document = (
            None if length is None else min(length, positions) for length in (self.query_length, self.document_length)
        )
        return type(self)(query, document, expansion)

    def replaced(self, query: int | None, document: int | None) -> Self:
        """Return lengths with these in place of the stored ones; None keeps a length.

        A fixed expansion is to the new length of queries, and an expansion to a minimum keeps its own.
        """
        expansion = self.query_expansion
        if query is not None and expansion is not None:
            fixed = expansion.strategy == "fixed"
            expansion = replace(expansion, length=query) if fixed else expansion
            query = None if fixed else max(query, expansion.length)
        return type(self)(query or self.query_length, document or self.document_length, expansion)


def stored_lengths(
    folder: Path, settings: Mapping[str, Any], options: LoadOptions, tokenizer: Any, model: Any, chat: Any
) -> TaskLengths:
    """Return the lengths by task that a checkpoint stores, or those that the caller chose."""
    lengths = TaskLengths.of(settings, folder).replaced(options.query_length, options.document_length)
    lengths = lengths.at_most(usable_length(options.max_length or _NO_LIMIT, tokenizer, model))
    if lengths.query_expansion is not None:
        if chat is not None or tokenizer.padding_side == "left":
            kind = "reads chats" if chat is not None else "pads on the left"
            raise ModelError(f"{folder}: queries are expanded, which is not supported for a model that {kind}")
        lengths.query_expansion.token_id(tokenizer, folder)
    return lengths
