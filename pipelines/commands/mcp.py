"""``retrieve mcp``: serve collections to an agent on standard input and output."""

import argparse
from typing import Any

from indexing.errors import SetupError
from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "mcp",
        run,
        "Serve collections to an agent over the Model Context Protocol, on standard input and output.",
        "retrieve mcp my-collection\nclaude mcp add docs -- retrieve mcp /path/to/my-collection",
    )
    parser.add_argument(
        "directories", metavar="COLLECTION", nargs="*", help="directories of collections, known by their folders' names"
    )
    parser.add_argument("--config", metavar="FILE", help="serve.yaml: names, descriptions, limits")


def run(options: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    try:
        from pipelines.service.agent_tools import serve_stdio
        from pipelines.service.config import ServeConfig
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the module {error.name!r} is not installed: `pip install 'retrieve-rerank[serve]'` installs it"
        ) from None
    config = (ServeConfig() if options.config is None else ServeConfig.load(options.config)).with_collections(
        options.directories
    )
    config.check()
    return serve_stdio(config)
