"""Preset: another tool's fusion, by the tool's name and its own name for the method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.presets import elasticsearch, haystack, llamaindex, pyserini, qdrant, ranx

TOOLS: dict[str, Mapping[str, Callable[..., FusionMethod]]] = {
    "qdrant": qdrant.METHODS,
    "elasticsearch": elasticsearch.METHODS,
    "haystack": haystack.METHODS,
    "llamaindex": llamaindex.METHODS,
    "pyserini": pyserini.METHODS,
    "ranx": ranx.METHODS,
}
"""By tool, and by the tool's name for it: who makes the method. A tool's first is its default."""


@dataclass(frozen=True, kw_only=True)
class Preset(FusionMethod):
    """Another tool's fusion, with its scores: its formula, its constants, its rules for one hit and for equal scores.

    The order of equal scores stays ours (by doc_id): the tools leave it to chance or to the order of insertion.

    Parameters
    ----------
    like
        ``"qdrant"``, ``"elasticsearch"``, ``"haystack"``, ``"llamaindex"``, ``"pyserini"`` or ``"ranx"``.
    method
        The tool's own name of the method; by default its default. The modules of `retrieve.fusion.presets` list them.
    options
        What the tool lets one choose for it: ``weights``, ``k``, ``alpha``, ``norm``.

    Raises
    ------
    InputError
        For a tool, method or option that is not known, naming those that are.
    """

    name: ClassVar[str] = "preset"
    policies: ClassVar[tuple[str, ...]] = ("zero",)

    like: str
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.like not in TOOLS:
            raise InputError(f"there is no preset like={self.like!r}: there are {', '.join(TOOLS)}")
        methods = TOOLS[self.like]
        if self.method is not None and self.method not in methods:
            raise InputError(f"{self.like} has no method {self.method!r} here: it has {', '.join(methods)}")
        make = methods[self.method] if self.method is not None else next(iter(methods.values()))
        known = make.__kwdefaults__ or {}
        if unknown := sorted(set(self.options) - set(known)):
            raise InputError(
                f"{self.like}'s {self.method or next(iter(methods))} takes {', '.join(known) or 'no option'}, "
                f"not {unknown[0]!r}"
            )
        object.__setattr__(self, "_inner", make(**self.options))

    @property
    def inner(self) -> FusionMethod:
        """The fusion of ours that it is."""
        inner: FusionMethod = self._inner  # type: ignore[attr-defined]  # set once, when the options were checked
        return inner

    def fit(self, answers: Sequence[Hits]) -> None:
        """Check what is given by leg."""
        self.inner.fit(answers)

    def values(self, pool: Pool) -> Matrix:
        """Give what the method gives."""
        return self.inner.values(pool)

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Give what the method gives."""
        return self.inner.contributions(values, pool)

    def as_config(self) -> dict[str, Any]:
        """Give ``{"like": …, "method": …, options}``."""
        method = {} if self.method is None else {"method": self.method}
        return {"like": self.like, **method, **{name: _plain(value) for name, value in self.options.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
