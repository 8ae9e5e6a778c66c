"""scripts/warm: fills a cache before its users come, or moves one to another Redis.

ask     asks an app of Dify, or a model through RAG Cache's OpenAI endpoints
store   keeps answers that people wrote, for Cache Lookup
export  writes the sealed entries of a namespace to a file
import  keeps the entries of such a file in another Redis

Keys and the URL of a Redis are read from environment variables; options name these variables.
docs/warming.md has an example of each. The exit code is 0 if every row is done.
"""

import argparse
import hashlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis
from redis.exceptions import RedisClusterException

from answer_warm import dify, rows, run, targets, transfer
from answer_warm.http import Api, Failed, Useless
from answer_warm.rows import BadFile, BadRow, Columns, Row
from answer_warm.targets import Target
from cachecore.errors import ConfigError, StoreError

_MOST_AT_ONCE = 64
_FORM = argparse.RawDescriptionHelpFormatter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = _parser().parse_args(arguments)
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, io.TextIOWrapper):
            # Texts of servers may contain any character.
            out.reconfigure(errors="backslashreplace")
    try:
        match given.command:
            case "export":
                moved = transfer.save(
                    _env(given.redis_env), given.namespace, given.file
                )
                print(f"{moved.entries} entries written to {given.file}.")
                return 0 if moved.entries else 1
            case "import":
                return _import(given)
            case _:
                return _warm(given)
    except (BadFile, Useless, Failed, ConfigError) as error:
        print(error, file=sys.stderr)
    except StoreError as error:
        print(error.remedy, file=sys.stderr)
    except (redis.RedisError, RedisClusterException) as error:
        print(f"The Redis can't be read: {type(error).__name__}.", file=sys.stderr)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        print(f"A file can't be read or written: {reason}.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. ask and store go on where they were.", file=sys.stderr)
    return 2


def _import(given: argparse.Namespace) -> int:
    moved = transfer.load(_env(given.redis_env), given.file)
    print(
        f"{moved.entries} entries kept; {moved.there} were there, the time of {moved.over} "
        f"was over, {len(moved.faults)} lines were skipped."
    )
    if moved.other_stamps:
        print(
            f"{moved.other_stamps} tags have another stamp in this Redis: entries under "
            "them are not served."
        )
    print(*moved.faults, sep="\n", end="\n" if moved.faults else "")
    return 1 if moved.faults else 0


def _warm(given: argparse.Namespace) -> int:
    columns = Columns(
        given.question,
        given.answer,
        [name for name in given.inputs.split(",") if name],
        needs_answer=given.command == "store",
    )
    target = _target(given)
    source, place = _source(given, columns)
    done = run.Done(given.progress or place, again=given.again)
    counts = run.Counts()
    try:
        run.run(source, target, done, counts, workers=given.at_once)
    finally:
        for fault in counts.faults:
            print(fault)
    if counts.stopped:
        print(f"Stopped: {counts.stopped}", file=sys.stderr)
        return 2
    return 1 if counts.bad or counts.failed else 0


def _target(given: argparse.Namespace) -> Target:
    api = Api(given.to, _env(given.key_env))
    if given.command == "store":
        names = ("name", "context_keys", "cache_tags", "cache_ttl", "app_id")
        of_all = {name: getattr(given, name) for name in names if getattr(given, name)}
        return targets.Values(
            api, of_all, name=f"store {given.to} {sorted(of_all.items())}"
        )
    if given.model:
        name = f"model {given.to} {given.model} {given.system}"
        return targets.Gateway(api, given.model, given.system, name=name)
    return targets.app(api, given.to, given.input, given.user)


def _source(
    given: argparse.Namespace, columns: Columns
) -> tuple[Iterator[Row | BadRow], Path]:
    """The rows, and the file with the finished rows."""
    if given.rows:
        return rows.read(given.rows, columns), given.rows.with_name(
            given.rows.name + ".done"
        )
    url = given.annotations or given.logs
    if not url:
        raise BadFile("Say where the questions are: --rows, --annotations or --logs.")
    api = Api(url, _env(given.source_key_env or given.key_env))
    if given.annotations:
        found = dify.annotations(api, columns)
    elif given.of_user:
        found = dify.first_turns(api, columns, given.of_user)
    else:
        found = dify.runs(api, columns)
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return found, Path(f"warm-{digest}.done")


def _env(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        # The name is not repeated, because it may be the secret itself.
        msg = "An option that ends in -env must name an environment variable with the secret."
        raise BadFile(msg)
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/warm", description=__doc__, formatter_class=_FORM
    )
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("ask", help="ask an app, or a model behind the gateway")
    store = commands.add_parser("store", help="keep answers for Cache Lookup")
    for one in (ask, store):
        where = one.add_argument_group("where the questions are")
        where.add_argument("--rows", type=Path, help="a .csv, .tsv or .jsonl file")
        where.add_argument(
            "--annotations", metavar="URL", help="of an app: Dify's API, …/v1"
        )
        where.add_argument(
            "--logs", metavar="URL", help="of a workflow or, with --of-user, a chat"
        )
        where.add_argument(
            "--of-user", action="append", metavar="USER", help="of whom; repeatable"
        )
        where.add_argument(
            "--source-key-env", metavar="VAR", help="the app's key; else --key-env"
        )
        where.add_argument(
            "--question", default="question", help="the column (question)"
        )
        where.add_argument("--answer", default="answer", help="the column (answer)")
        where.add_argument(
            "--inputs", default="", help="further columns that the app takes: a,b"
        )
        one.add_argument(
            "--key-env", required=True, metavar="VAR", help="has the key or token"
        )
        one.add_argument(
            "--at-once", type=_count, default=4, help="requests at once (4)"
        )
        one.add_argument(
            "--progress", type=Path, help="which rows are done; beside the rows"
        )
        one.add_argument(
            "--again", action="store_true", help="forget which rows are done"
        )
    ask.add_argument(
        "--to", required=True, help="Dify's API, …/v1, or the endpoint's …/v1"
    )
    ask.add_argument(
        "--model", default="", help="a model of GET /v1/models; else it is an app"
    )
    ask.add_argument("--system", default="", help="the system prompt, for a model")
    ask.add_argument(
        "--input", default="", help="a workflow's variable for the question"
    )
    ask.add_argument("--user", default="answer-cache-warm", help="who asks the app")
    store.add_argument("--to", required=True, help="the endpoint's URL, …/e/<hook>")
    for name, help_text in (
        ("name", "the lookup's Name of the Work"),
        ("context-keys", "the lookup's Context Keys"),
        ("cache-tags", "tags, with commas"),
        ("cache-ttl", "as in '7 days'; else as in the endpoint's settings"),
        ("app-id", "whose, where answers are shared within an app"),
    ):
        store.add_argument(f"--{name}", default="", help=help_text)
    for name, help_text in (
        ("export", "write entries to a file"),
        ("import", "keep its entries"),
    ):
        one = commands.add_parser(name, help=help_text)
        one.add_argument(
            "--redis-env", required=True, metavar="VAR", help="has the Redis URL"
        )
        one.add_argument("--file", type=Path, required=True, help="the file of entries")
        if name == "export":
            one.add_argument("--namespace", required=True, help="the cache namespace")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_AT_ONCE:
        raise argparse.ArgumentTypeError(f"a number from 1 to {_MOST_AT_ONCE}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
