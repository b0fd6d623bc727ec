"""``retrieve info``: what a collection holds."""

import argparse
import json
from typing import Any

from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(commands, "info", run, "Say what a collection holds.", "retrieve info my-collection")
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("--json", action="store_true", help="the manifest, as JSON")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from dataclasses import asdict

    from indexing.collection.reader import Collection
    from pipelines.commands.index_options import described

    with Collection.open(options.directory) as collection:
        manifest = collection.manifest
    if options.json:
        print(json.dumps(asdict(manifest), indent=2, ensure_ascii=False))
        return 0
    print(f"{options.directory}: {manifest.documents:,} documents from {manifest.corpus.get('description')}")
    fields = ", ".join(f"{name} ({kind})" for name, kind in manifest.fields.items())
    print(f"  filter fields: {fields or 'none (retrieve index --filter-field NAME:TYPE)'}")
    for name, leg in manifest.legs.items():
        size = f"{leg.count:,} documents, {leg.bytes / 1e6:.1f} MB"
        print(f"  {name}: {leg.backend}, {size} ({described(leg.parameters)})")
        if leg.encoder:
            print(f"    encoded with {leg.encoder.get('name')} ({leg.encoder.get('dtype')})")
    return 0
