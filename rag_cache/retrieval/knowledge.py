"""Dify's knowledge API: datasets, their documents, and retrievals.

It is a plugin's only way to a retrieval (host contract 8.1). Its key reads every
dataset of a workspace, so permissions are checked before a call. No message repeats a
response body or the key.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import urllib3

from difykit import web
from rag_cache.errors import KnowledgeError, NoKnowledgeBase
from rag_cache.settings import Knowledge

# Dify's own limit (services/hit_testing_service.py: hit_testing_args_check).
MAX_QUERY: Final = 250
CHECK_SECONDS: Final = 10
_WORKERS: Final = 8
_PAGE: Final = 100  # documents or datasets in a page; the API returns no more
_MAX_PAGES: Final = 100
_READ_SIZE: Final = 64 * 1024
_MAX_BODY: Final = 16 * 1024 * 1024
_API_NAME: Final = "Dify's knowledge API"

type Json = dict[str, Any]


def rebuilt(name: str, text: str) -> KnowledgeError | None:
    """An error of another process, rebuilt from its name and text."""
    kinds = {kind.__name__: kind for kind in (KnowledgeError, NoKnowledgeBase)}
    return kinds[name](text) if name in kinds else None


def side_by_side[A, B](
    ask: Callable[[A], B], about: Sequence[A]
) -> list[B | KnowledgeError]:
    """The result of ``ask`` for each, or its error; all are asked at the same time."""

    def one(which: A) -> B | KnowledgeError:
        try:
            return ask(which)
        except KnowledgeError as error:
            return error

    if len(about) == 1:
        return [one(about[0])]
    with ThreadPoolExecutor(min(len(about), _WORKERS)) as workers:
        return list(workers.map(one, about))


def datasets(place: Knowledge) -> Iterator[tuple[str, str]]:
    """Id and name of every dataset that may be asked. Raises KnowledgeError."""
    for item in _pages(place, "/v1/datasets"):
        if not place.allowed or item.get("id") in place.allowed:
            yield str(item.get("id")), str(item.get("name"))


def check(place: Knowledge) -> None:
    """Check that the API accepts this key. Raises KnowledgeError."""
    deadline = time.monotonic() + CHECK_SECONDS
    _call(place, "GET", "/v1/datasets?page=1&limit=1", "", deadline)


def dataset(place: Knowledge, dataset_id: str) -> Json:
    """The answer to ``GET /datasets/{id}``. Raises KnowledgeError."""
    deadline = time.monotonic() + place.seconds
    return _call(place, "GET", f"/v1/datasets/{dataset_id}", dataset_id, deadline)


def documents(place: Knowledge, dataset_id: str) -> Iterator[Json]:
    """Every document of a dataset, as the API lists them. Raises KnowledgeError."""
    return _pages(place, f"/v1/datasets/{dataset_id}/documents", dataset_id)


def retrieve(
    place: Knowledge,
    dataset_id: str,
    query: str,
    model: Mapping[str, Any] | None,
) -> list[Json]:
    """A dataset's records for a query of at most MAX_QUERY characters.

    ``model`` is the API's ``retrieval_model``; None for the dataset's own settings.
    Raises KnowledgeError.
    """
    body: Json = {"query": query}
    if model is not None:
        body["retrieval_model"] = dict(model)
    path = f"/v1/datasets/{dataset_id}/retrieve"
    deadline = time.monotonic() + place.seconds
    records = _call(place, "POST", path, dataset_id, deadline, body).get("records")
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise KnowledgeError(f"{_API_NAME} gave an answer without records.")
    return records


def _pages(place: Knowledge, path: str, dataset_id: str = "") -> Iterator[Json]:
    deadline = time.monotonic() + place.seconds
    for page in range(1, _MAX_PAGES + 1):
        asked = f"{path}?page={page}&limit={_PAGE}"
        found = _call(place, "GET", asked, dataset_id, deadline)
        yield from (item for item in found.get("data") or () if isinstance(item, dict))
        if not found.get("has_more"):
            return
    raise KnowledgeError(
        f"The knowledge base {dataset_id} has more than {_MAX_PAGES * _PAGE} documents, "
        "too many to list; set dataset_check: counters in Cache options (cache_options)."
    )


def check_set(place: Knowledge) -> None:
    """Raise KnowledgeError unless the API's URL and key are set."""
    if not place.url or not place.key:
        raise KnowledgeError(
            "Set Knowledge API URL (knowledge_api_url) and Knowledge API key "
            "(knowledge_api_key) in the plugin's credentials or the endpoint's settings."
        )


def _call(
    place: Knowledge,
    method: str,
    path: str,
    dataset_id: str,
    deadline: float,
    body: Json | None = None,
) -> Json:
    check_set(place)
    try:
        sent = None if body is None else orjson.dumps(body)
    except TypeError:
        raise KnowledgeError(
            "The query or a setting holds a character or a number that JSON can't carry."
        ) from None
    status, data = _exchange(place, method, place.url + path, deadline, sent)
    if status != HTTPStatus.OK:
        raise _refused(status, _code(data), dataset_id)
    if not isinstance(data, dict):
        raise KnowledgeError(
            f"The server at Knowledge API URL (knowledge_api_url) is not {_API_NAME}."
        )
    return data


def _exchange(
    place: Knowledge, method: str, url: str, deadline: float, body: bytes | None
) -> tuple[int, Any]:
    """The status and the JSON that came back in time."""
    left = max(0.001, deadline - time.monotonic())
    try:
        with (
            web.until(deadline),
            web.ask(
                method,
                url,
                body=body,
                headers={
                    "Authorization": f"Bearer {place.key}",
                    "Content-Type": "application/json",
                },
                seconds=left,
            ) as response,
        ):
            return response.status, _read(response)
    except (web.DeadlinePassed, urllib3.exceptions.TimeoutError):
        raise KnowledgeError(
            f"{_API_NAME} at {urlsplit(url).netloc} did not answer in time."
        ) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise KnowledgeError(
            f"The connection to {_API_NAME} at {urlsplit(url).netloc} failed; check "
            "Knowledge API URL (knowledge_api_url)."
        ) from error


def _read(response: urllib3.BaseHTTPResponse) -> Any:
    """The body as JSON; None if it is not JSON, or longer than ``_MAX_BODY``."""
    body = bytearray()
    for chunk in response.stream(_READ_SIZE):
        body += chunk
        if len(body) > _MAX_BODY:
            return None
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def _code(data: Any) -> str:
    """The error's code, if it is a word: the rest of a body may hold anything."""
    code = web.word(data.get("code") if isinstance(data, dict) else None)
    return f" ({code})" if code else ""


def _refused(status: int, code: str, dataset_id: str) -> KnowledgeError:
    sentence = f"{_API_NAME} answered HTTP {status}{code}"
    # Dify's own 404 has a code; a web server's page for a wrong path has none.
    missing = dataset_id and code and status == HTTPStatus.NOT_FOUND
    which = f"the knowledge base {dataset_id}" if dataset_id else "knowledge bases"
    if status == HTTPStatus.UNAUTHORIZED:
        rest = "; check Knowledge API key (knowledge_api_key)"
    elif status == HTTPStatus.FORBIDDEN:
        rest = f": the API access of {which} is off, or limited"
    elif missing:
        rest = f": the key's workspace has no knowledge base {dataset_id}"
    elif status == HTTPStatus.NOT_FOUND:
        rest = "; check Knowledge API URL (knowledge_api_url)"
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        rest = ", too many requests"
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        rest = f" for {which}; the server itself failed"
    elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        rest = (
            "; check Knowledge API URL (knowledge_api_url), which redirects elsewhere"
        )
    else:
        rest = f": it does not accept these settings for {which}"
    return (NoKnowledgeBase if missing else KnowledgeError)(sentence + rest + ".")
