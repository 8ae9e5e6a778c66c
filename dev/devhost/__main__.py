"""python -m devhost: run packages and workflows as Dify would, from a shell."""

import argparse
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from devhost.endpoints import Endpoints
from devhost.failures import PluginError
from devhost.host import Host

_DESCRIPTION = """\
A Dify host for development. It unpacks .difypkg files, installs each one's
requirements into a separate environment, runs it over stdio as Dify's plugin
daemon does, and fails in the cases in which the daemon fails.
"""


def main() -> int:
    """Run the command line; return its exit code."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="devhost-") as scratch:
        root = Path(arguments.root or scratch)
        with Host(root) as host:
            for path in arguments.package:
                installed = host.install(path)
                print(f"{installed.package.identifier} runs", file=sys.stderr)
            return arguments.run(host, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devhost",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, help="the folder for unpacked plugins")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, run: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument(
            "--package",
            type=Path,
            action="append",
            required=True,
            help="a .difypkg to install; may be repeated",
        )
        made.set_defaults(run=run)
        return made

    invoke = command(
        "invoke", "send one request to a plugin and print its chunks", _invoke
    )
    invoke.add_argument("plugin", help="author/name")
    invoke.add_argument("kind", choices=["model", "tool"])
    invoke.add_argument("action", help="invoke_llm, invoke_tool, …")
    invoke.add_argument("data", type=json.loads, help="the request's data as JSON")

    workflow = command(
        "workflow", "run a Dify workflow (DSL) and print its text", _workflow
    )
    workflow.add_argument("dsl", type=Path)
    workflow.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="an input of the Start node",
    )
    workflow.add_argument(
        "--credentials",
        type=json.loads,
        default={},
        help='as JSON: {"model_credentials": [{"vendor": "cached_model", "values": {}}]}',
    )

    serve = command("serve", "serve the packages' endpoints over HTTP", _serve)
    serve.add_argument("--port", type=int, default=0)
    serve.add_argument(
        "--settings",
        type=json.loads,
        default={},
        help="the endpoints' settings as JSON",
    )
    return parser


def _invoke(host: Host, arguments: argparse.Namespace) -> int:
    process = host.plugin(arguments.plugin).process
    try:
        for chunk in process.invoke(arguments.kind, arguments.action, arguments.data):
            print(json.dumps(chunk, ensure_ascii=False))
    except PluginError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _workflow(host: Host, arguments: argparse.Namespace) -> int:
    from devhost import workflow  # noqa: PLC0415 - graphon takes a second to import

    inputs = dict(item.split("=", maxsplit=1) for item in arguments.input)
    result = workflow.Run()
    try:
        for chunk in workflow.stream(
            host, arguments.dsl, inputs, result, credentials=arguments.credentials
        ):
            print(chunk, end="", flush=True)
    except workflow.WorkflowFailed as error:
        print(error, file=sys.stderr)
        return 1
    print()
    return 0


def _serve(host: Host, arguments: argparse.Namespace) -> int:
    endpoints = Endpoints(arguments.port)
    for package in host.packages:
        if "endpoints" in package.providers:
            process = host.plugin(package.plugin_id).process
            print(endpoints.add(process, arguments.settings), flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        endpoints.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
