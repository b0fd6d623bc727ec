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

    from indexing.collection import Collection

    with Collection.open(options.directory) as collection:
        manifest = collection.manifest
    if options.json:
        print(json.dumps(asdict(manifest), indent=2, ensure_ascii=False))
        return 0
    print(f"{options.directory}: {manifest.documents:,} documents from {manifest.corpus.get('description')}")
    for name, leg in manifest.legs.items():
        encoder = f", encoded with {leg.encoder.get('name')} ({leg.encoder.get('dtype')})" if leg.encoder else ""
        print(f"  {name}: {leg.backend}, {leg.count:,} documents, {leg.bytes / 1e6:.1f} MB{encoder}")
    return 0
