"""Copies of NanoBEIR in the Hub's layout, with any texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_nanobeir(folder: Path, sets: Mapping[str, Mapping[str, Mapping[str, Sequence[Any]]]]) -> Path:
    """Write {split: {configuration: columns}}: a Parquet file for each, and the card that lists them."""
    configs: dict[str, list[str]] = {}
    for split, tables in sets.items():
        for config, columns in tables.items():
            path = folder / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)
            configs.setdefault(config, []).append(split)
    card = ["---", "configs:"]
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            card += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder
