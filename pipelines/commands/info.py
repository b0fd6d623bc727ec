"""``retrieve info``: describe a collection."""

import argparse
from typing import Any

from indexing.plurals import counted
from pipelines.commands.command import command, json_text


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    summary = "Describe a collection: documents, filter fields, legs, encoders."
    parser = command(commands, "info", run, summary, "retrieve info my-collection")
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from dataclasses import asdict

    from indexing.collection.reader import Collection
    from pipelines.commands.index_options import described

    with Collection.open(options.directory) as collection:
        manifest = collection.manifest
    if options.json:
        print(json_text(asdict(manifest), indent=2))
        return 0
    print(f"{options.directory}: {counted(manifest.documents, 'document')} from {manifest.corpus.get('description')}")
    fields = ", ".join(f"{name} ({kind})" for name, kind in manifest.fields.items())
    print(f"  filter fields: {fields or 'none (retrieve index --filter-field NAME:TYPE)'}")
    for name, leg in manifest.legs.items():
        size = f"{counted(leg.count, 'document')}, {leg.bytes / 1e6:.1f} MB"
        print(f"  {name}: {leg.backend}, {size} ({described(leg.parameters)})")
        if leg.encoder:
            print(f"    encoded with {leg.encoder.get('name')} ({leg.encoder.get('dtype')})")
    return 0
