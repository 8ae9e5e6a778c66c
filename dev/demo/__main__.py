"""python -m demo, for scripts/demo. The exit code is 0 if all checks passed."""

import argparse
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from servers import model, redis
from servers.documents import Dataset, Document
from servers.knowledge import KEY, FakeKnowledgeApi

from devhost import workflow
from devhost.endpoints import Endpoints
from devhost.host import Host
from packager.build import RECIPES, build
from packager.checks.package import columns

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples" / "faq_assistant.yml"
QUESTIONS = ROOT / "examples" / "faq_questions.txt"
CONVERSATION = ROOT / "examples" / "conversation.yml"
SAID = ("Do you ship to Norway?", "And how long does it take?")
TOOLS = "answercache/rag_cache/rag_cache"
QUICK = 3
PRICE = (0.15, 0.60)  # US dollars for a million tokens in and out (default)
# A model of this size does not stop in time; its first sentence is taken as its answer.
SMALL_MODEL_PARAMS = {
    "stop": [".", "。", "!", "\n"],
    "temperature": 0,
    "frequency_penalty": 1.5,
    "seed": 7,
}
MAX_RATIO = 0.05  # of the first token: warm against cold, median


@dataclass(frozen=True)
class Row:
    """One question, asked twice."""

    question: str
    cold: workflow.Run
    warm: workflow.Run

    @property
    def equal(self) -> bool:
        """Whether both answers are equal."""
        cold, warm = (run.node_outputs["llm"] for run in (self.cold, self.warm))
        same = ("text", "finish_reason")
        return self.cold.text == self.warm.text and all(
            cold[name] == warm[name] for name in same
        )

    @property
    def usage(self) -> Mapping[str, Any]:
        """The tokens of the answer."""
        found: Mapping[str, Any] = self.warm.node_outputs["llm"]["usage"]
        return found


def main() -> int:
    """Run the demo; 0 if all checks passed."""
    arguments = _parser().parse_args()
    questions = QUESTIONS.read_text(encoding="utf-8").split("\n")
    questions = [question for question in questions if question.strip()]
    if arguments.quick:
        questions = questions[:QUICK]
    with ExitStack() as stack:
        store = arguments.redis
        if not store:
            with _step("Starting an embedded Valkey"):
                store = stack.enter_context(redis.valkey())
        upstream = arguments.upstream
        if not upstream:
            with _step("Starting llama.cpp with SmolLM2-135M"):
                upstream = stack.enter_context(model.model_server())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = stack.enter_context(Host(ROOT / ".cache" / "devhost"))
        for recipe in RECIPES:
            with _step(f"Building and installing {recipe.name}"):
                host.install(build(ROOT, recipe, scratch))
        form = _form(arguments, upstream, store)
        with _step("Saving the model's credentials"):
            _validate(host, arguments.model, form)
        params = {} if arguments.upstream else SMALL_MODEL_PARAMS
        dsl = _workflow_for(WORKFLOW, arguments.model, params, scratch)
        print(f"\nAsking {len(questions)} questions, cold:")
        cold = [_ask(host, dsl, form, question) for question in questions]
        before = model.work_done(upstream)
        print("\nThe same questions again, warm:")
        warm = [_ask(host, dsl, form, question) for question in questions]
        after = model.work_done(upstream)
        rows = [Row(*item) for item in zip(questions, cold, warm, strict=True)]
        held = _report(rows, before, after, arguments.price)
        knowledge = FakeKnowledgeApi()
        stack.callback(knowledge.close)
        dataset = knowledge.add("Shop", *_documents())
        dsl = _workflow_for(CONVERSATION, arguments.model, params, scratch, dataset)
        of_tools = {name: form[name] for name in _SHARED}
        of_tools |= {"knowledge_api_url": knowledge.url, "knowledge_api_key": KEY}
        held &= _converse(host, dsl, _credentials(form, of_tools), upstream)
        if arguments.keep:
            _keep_open(host, {name: form[name] for name in _SHARED}, stack)
        else:
            print("\n--keep serves the dashboard with these figures.")
    return 0 if held else 1


# The fields that the forms of both plugins and of the endpoint have.
_SHARED = ("redis_url", "cache_namespace", "cache_options")


def _documents() -> Iterator[Document]:
    yield Document("shipping.md", "We ship to Norway; it takes six days.")
    yield Document("returns.md", "Goods may be sent back within thirty days.")


def _credentials(
    form: Mapping[str, str], of_tools: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "model_credentials": [{"vendor": "cached_model", "values": dict(form)}],
        "tool_credentials": [{"provider_id": TOOLS, "values": dict(of_tools)}],
    }


def _converse(
    host: Host, dsl: Path, credentials: dict[str, Any], upstream: str
) -> bool:
    """A chat with memory, with two people: the second needs no work of the model."""
    print("\nA chat with memory (examples/conversation.yml), two people ask the same:")
    texts: list[list[str]] = []
    work: list[float | None] = []
    for who in ("first", "second"):
        before, history, said = model.work_done(upstream), "", []
        for question in SAID:
            done = workflow.run(
                host,
                dsl,
                {"query": question},
                credentials=credentials,
                conversation={"history": history},
            )
            history = done.conversation["history"]
            said.append(done.text)
            print(f"  {who:6} {_wide(question, 37)} {done.total * 1000:7.0f} ms")
        after = model.work_done(upstream)
        texts.append(said)
        work.append(None if before is None or after is None else after - before)
    checks = {
        "the second person got the same answers as the first": texts[0] == texts[1],
        "the model server did no work for the second person": not work[1],
        "the model server did work for the first person": work[0] is None
        or work[0] > 0,
    }
    return _print_checks(checks)


def _keep_open(host: Host, shared: Mapping[str, str], stack: ExitStack) -> None:
    """Print the dashboard's address, and serve it until the user ends it."""
    endpoints = Endpoints()
    stack.callback(endpoints.close)
    token = secrets.token_urlsafe(12)
    process = host.plugin("answercache/rag_cache").process
    hook = endpoints.add(process, {**shared, "access_token": token})
    print(f"\nThe dashboard: {hook}/dashboard")
    print(f"Any user name, and the password {token}. Ctrl-C ends it.", flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Ask a shop's FAQ assistant, a real Dify workflow, each question twice.",
    )
    parser.add_argument("--quick", action="store_true", help="3 questions")
    parser.add_argument(
        "--keep", action="store_true", help="serve the dashboard at the end"
    )
    parser.add_argument("--upstream", metavar="URL", help="your own model server")
    parser.add_argument("--model", default=model.NAME, help="its model")
    parser.add_argument("--api-key-env", metavar="VAR", help="variable with its key")
    parser.add_argument("--redis", metavar="URL", help="your own Redis")
    parser.add_argument(
        "--price",
        type=float,
        nargs=2,
        default=PRICE,
        metavar=("IN", "OUT"),
        help="US dollars for a million tokens (default: %(default)s)",
    )
    return parser


@contextmanager
def _step(text: str) -> Iterator[None]:
    started = time.perf_counter()
    print(f"{text} …", end=" ", flush=True)
    yield
    print(f"{time.perf_counter() - started:.1f} s", flush=True)


def _form(arguments: argparse.Namespace, upstream: str, store: str) -> dict[str, str]:
    price_in, price_out = arguments.price
    return {
        "endpoint_url": upstream,
        "api_key": os.environ.get(arguments.api_key_env or "", ""),
        "context_size": "4096",
        "redis_url": store,
        # A new name for each run, so that the first pass is cold.
        "cache_namespace": f"demo-{uuid.uuid4().hex[:8]}",
        "cache_options": f"price: {{input: {price_in}, output: {price_out}}}",
    }


def _validate(host: Host, name: str, form: Mapping[str, str]) -> None:
    process = host.plugin("answercache/cached_model").process
    request = {
        "provider": "cached_model",
        "model_type": "llm",
        "model": name,
        "credentials": form,
    }
    list(process.invoke("model", "validate_model_credentials", request))


def _workflow_for(
    example: Path,
    name: str,
    params: Mapping[str, Any],
    scratch: Path,
    dataset: Dataset | None = None,
) -> Path:
    """The example with a model and a knowledge base, as a user completes it in Dify."""
    dsl = yaml.safe_load(example.read_text(encoding="utf-8"))
    for node in dsl["workflow"]["graph"]["nodes"]:
        data = node["data"]
        if data.get("type") == "llm":
            data["model"]["name"] = name
            data["model"]["completion_params"] |= params
        if data.get("tool_name") == "cached_retrieve" and dataset:
            picked = {"type": "constant", "value": dataset.id}
            data["tool_parameters"]["datasets"] = picked
    path = scratch / example.name
    path.write_text(yaml.safe_dump(dsl, allow_unicode=True), encoding="utf-8")
    return path


def _ask(host: Host, dsl: Path, form: Mapping[str, str], question: str) -> workflow.Run:
    run = workflow.run(
        host,
        dsl,
        {"query": question},
        credentials=_credentials(form, {}),
    )
    print(f"  {_wide(question, 44)} {run.total * 1000:7.0f} ms", flush=True)
    return run


def _wide(text: str, width: int) -> str:
    """Padded by columns: a Chinese character takes two."""
    return text + " " * (width - columns(text))


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"


def _report(
    rows: list[Row], before: float | None, after: float | None, price: Any
) -> bool:
    print(f"\n{_wide('', 44)}   first token, ms       total, ms")
    print(
        f"{_wide('question', 44)}  cold  warm  ratio    cold  warm  tokens  saved $  equal"
    )
    for row in rows:
        tokens = row.usage["prompt_tokens"], row.usage["completion_tokens"]
        saved = sum(n * p for n, p in zip(tokens, price, strict=True)) / 1e6
        print(
            f"{_wide(row.question, 44)} {_ms(row.cold.first_token):>5} "
            f"{_ms(row.warm.first_token):>5} {_ratio(row):>6.3f} "
            f"{_ms(row.cold.total):>7} {_ms(row.warm.total):>5} "
            f"{sum(tokens):>7} {saved:>8.6f}  {'yes' if row.equal else 'NO'}"
        )
    ratio = statistics.median(map(_ratio, rows))
    moved = None if before is None or after is None else after - before
    checks = {
        "every warm answer equals its cold one": all(row.equal for row in rows),
        "the model server did no work for the warm pass "
        + (
            "(it has no counter)" if moved is None else f"(counter moved by {moved:g})"
        ): (not moved),
        f"first token, warm/cold at the median: {ratio:.3f} ≤ {MAX_RATIO}": (
            ratio <= MAX_RATIO
        ),
    }
    cut = [
        row for row in rows if row.cold.node_outputs["llm"]["finish_reason"] != "stop"
    ]
    if cut:
        print(
            f"\n{len(cut)} answers were cut by a limit; the cache does not keep them."
        )
    return _print_checks(checks)


def _print_checks(checks: Mapping[str, bool]) -> bool:
    """Print each check's result; whether all passed."""
    print()
    for text, held in checks.items():
        print(f"{'ok  ' if held else 'FAIL'}  {text}")
    return all(checks.values())


def _ratio(row: Row) -> float:
    if not row.cold.first_token or not row.warm.first_token:
        return float("inf")
    return row.warm.first_token / row.cold.first_token


if __name__ == "__main__":
    sys.exit(main())
