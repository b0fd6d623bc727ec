"""``retrieve deploy``: all legs of a collection into one Qdrant collection."""

import argparse
from dataclasses import asdict
from typing import Any

from indexing.plurals import counted
from pipelines.commands.command import add_json_option, command, json_text, positive, split_names


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "deploy",
        run,
        "Copy a collection with all its legs into one collection of a Qdrant server, cluster or embedded engine, "
        "without encoding anything. It is built beside the old one, checked, and switched to at once; a run that was "
        "stopped resumes.",
        "retrieve deploy my-collection --to http://localhost:6333 --shards 6 --replicas 2\n"
        "retrieve deploy my-collection --to http://localhost:6333 --follow\n"
        "retrieve deploy my-collection --to my-deployment",
        keeps_in="to",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument(
        "--to",
        required=True,
        metavar="URL|FOLDER",
        help="a server, with its API key in QDRANT_API_KEY; or a folder for an embedded engine",
    )
    parser.add_argument("--name", help="the name (alias) on the server by which searches find it (the name of DIR)")
    parser.add_argument("--engine", choices=["edge", "local"], default="edge", help="of a folder (edge)")
    parser.add_argument("--legs", type=split_names, metavar="A,B", help="deploy only these legs (all)")
    parser.add_argument("--shards", type=positive, metavar="N", help="shards in a cluster")
    parser.add_argument("--replicas", type=positive, metavar="N", help="replicas of each shard in a cluster")
    parser.add_argument("--quantization", choices=["scalar", "product", "binary"], help="of dense vectors (none)")
    parser.add_argument("--on-disk", action="store_true", help="keep vectors and graphs on disk instead of in memory")
    parser.add_argument(
        "--tenants",
        metavar="FIELD",
        help="a declared keyword field that names each document's tenant: the graph links within a tenant only",
    )
    parser.add_argument(
        "--shard-by-tenant",
        action="store_true",
        help="in a cluster, give each tenant shards of its own (few, large tenants), --shards of them",
    )
    parser.add_argument(
        "--follow", action="store_true", help="send only what was written since the last deployment, in place"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from pipelines.deploy.job import deploy

    done = deploy(
        options.directory,
        options.to,
        name=options.name,
        engine=options.engine,
        legs=options.legs,
        shards=options.shards,
        replicas=options.replicas,
        quantization=options.quantization,
        on_disk=options.on_disk,
        tenants=options.tenants,
        shard_by_tenant=options.shard_by_tenant,
        follow=options.follow,
        show_progress=not (options.quiet or options.json),
    )
    if options.json:
        print(json_text(asdict(done)))
        return 0
    how = "resumed; " if done.resumed else ""
    print(
        f"{done.where}: {counted(done.documents, 'document')} up to write {done.sequence} "
        f"({how}{done.sent:,} sent, {done.seconds:.1f} s)"
    )
    return 0
