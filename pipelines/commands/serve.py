"""``retrieve serve``: serve collections and models over HTTP."""

import argparse
from typing import Any

from indexing.errors import SetupError
from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "serve",
        run,
        "Serve collections and models over HTTP, for applications, agents and people. Stops gracefully at SIGTERM.",
        "retrieve serve my-collection\n"
        "retrieve serve docs code --writable --keys keys.yaml --host 0.0.0.0 --port 80\n"
        "retrieve serve --config serve.yaml",
    )
    parser.add_argument(
        "directories", metavar="COLLECTION", nargs="*", help="collections, served by their folders' names"
    )
    parser.add_argument("--config", metavar="FILE", help="serve.yaml: names, models, limits; options override it")
    parser.add_argument("--host", metavar="HOST", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="PORT", help="port to listen on; 0 takes a free one (8080)")
    parser.add_argument("--writable", action="store_true", default=None, help="accept upserts and deletes of documents")
    parser.add_argument("--keys", metavar="FILE", help="API keys that may call the service: see `retrieve key`")
    parser.add_argument(
        "--allow-anonymous",
        action="store_true",
        default=None,
        help="listen on an address that others can reach without any keys",
    )
    parser.add_argument("--judge", metavar="FILE", help="qrels file to which the page appends judgements")
    parser.add_argument(
        "--log-queries", action="store_true", default=None, help="write the texts of queries to the access log"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal to stop."""
    try:
        from pipelines.service.config import ServeConfig
        from pipelines.service.server import serve
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the module {error.name!r} is not installed: `pip install 'retrieve-rerank[serve]'` installs all that "
            "`retrieve serve` needs"
        ) from None
    config = ServeConfig() if options.config is None else ServeConfig.load(options.config)
    names = ("host", "port", "writable", "keys", "allow_anonymous", "judge", "log_queries")
    config = config.with_collections(options.directories)
    return serve(config.changed(**{name: getattr(options, name) for name in names}))
