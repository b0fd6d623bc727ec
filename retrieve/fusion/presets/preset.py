"""Preset: another tool's fusion, by the tool's name and its name of the method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.method import FusionMethod, plain
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
"""Functions that return each tool's fusions, by tool and the tool's name of the method; the first is the default."""


@dataclass(frozen=True, kw_only=True)
class Preset(FusionMethod):
    """Another tool's fusion with equal scores: its formula, constants, and rules for single hits and equal scores.

    Hits with equal scores are ordered by doc_id as in all our fusions; the tools' own order depends on chance or on
    the order of insertion.

    Parameters
    ----------
    like
        ``"qdrant"``, ``"elasticsearch"``, ``"haystack"``, ``"llamaindex"``, ``"pyserini"`` or ``"ranx"``.
    method
        The tool's name of the method; the tool's default if None. The modules of `retrieve.fusion.presets` list them.
    options
        The tool's options of the method: ``weights``, ``k``, ``alpha``, ``norm``.

    Raises
    ------
    InputError
        For an unknown tool, method or option; the message lists the known ones.
    """

    name: ClassVar[str] = "preset"
    policies: ClassVar[tuple[str, ...]] = ("zero",)

    like: str
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.like not in TOOLS:
            raise InputError(f"there is no preset like={self.like!r}; choose one of {', '.join(TOOLS)}")
        methods = TOOLS[self.like]
        method = next(iter(methods)) if self.method is None else self.method
        if method not in methods:
            raise InputError(f"the preset {self.like} has no method {method!r}; choose one of {', '.join(methods)}")
        known = methods[method].__kwdefaults__ or {}
        if unknown := sorted(set(self.options) - set(known)):
            raise InputError(f"{self.like}'s {method} takes {', '.join(known) or 'no option'}, not {unknown[0]!r}")
        object.__setattr__(self, "_inner", methods[method](**self.options))

    @property
    def inner(self) -> FusionMethod:
        """Our fusion method that computes this preset."""
        inner: FusionMethod = self._inner  # type: ignore[attr-defined]  # set once, when the options were checked
        return inner

    def fit(self, answers: Sequence[Hits]) -> None:
        """Check the options by leg."""
        self.inner.fit(answers)

    def values(self, pool: Pool) -> Matrix:
        """Return the inner method's values."""
        return self.inner.values(pool)

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Return the inner method's contributions."""
        return self.inner.contributions(values, pool)

    def as_config(self) -> dict[str, Any]:
        """Return ``{"like": …, "method": …, options}``."""
        method = {} if self.method is None else {"method": self.method}
        return {"like": self.like, **method, **plain(self.options)}
