"""Jupyter notebooks: Markdown cells as they are, code cells as code blocks; outputs are left out."""

import json
from collections.abc import Mapping
from typing import Any

from indexing.corpora.sources.formats.extracted import Extracted, bounded
from indexing.corpora.sources.formats.plain import code_block, decode, markdown
from indexing.errors import InputError


def notebook(data: bytes) -> Extracted:
    """Read a notebook of format 3 or 4.

    Raises
    ------
    InputError
        When it is not one.
    """
    try:
        stored = json.loads(decode(data))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not a notebook: not JSON ({error})") from None
    if not isinstance(stored, dict):
        raise InputError("is not a notebook: not a JSON object")
    sheets = stored.get("worksheets")
    cells = stored.get("cells") or [cell for sheet in _objects(sheets) for cell in _objects(sheet.get("cells"))]
    described = stored["metadata"] if isinstance(stored.get("metadata"), dict) else {}
    spoken = _text_at(described, "language_info", "name") or _text_at(described, "kernelspec", "language") or "python"
    parts = []
    for cell in _objects(cells):
        source = cell.get("source", cell.get("input", ""))
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        kind = cell.get("cell_type")
        if not text.strip() or kind not in ("markdown", "code", "heading", "raw"):
            continue
        if kind == "code":
            text = code_block(text, spoken)
        elif kind == "heading":
            level = cell.get("level")
            text = f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 1)} {text}"
        parts.append(text)
    text = bounded("\n\n".join(parts))
    return Extracted(text, "notebook", _text_at(described, "title") or markdown(text.encode("utf-8", "replace")).title)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text_at(values: Mapping[str, Any], *keys: str) -> str:
    value: Any = values
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
