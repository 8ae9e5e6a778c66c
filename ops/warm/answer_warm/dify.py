"""Questions and answers of an app of Dify: its annotations, and its logs.

Dify 1.13.2, api/controllers/service_api/app: annotation.py, workflow.py, conversation.py
and message.py. All take the app's own API key.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from answer_warm.http import Api, Failed, Useless
from answer_warm.rows import BadRow, Columns, Row, json_object

_PAGE: Final = 100


def annotations(api: Api, columns: Columns) -> Iterator[Row | BadRow]:
    """The annotations of an app, in pages. Raises Failed or Useless."""
    for found in _pages(api, "/apps/annotations"):
        place = f"annotation {found.get('id')}"
        data = {
            columns.question: found.get("question"),
            columns.answer: found.get("answer"),
        }
        yield columns.read(place, data)


def runs(api: Api, columns: Columns) -> Iterator[Row | BadRow]:
    """The inputs and outputs of the successful runs of a workflow app."""
    for found in _pages(api, "/workflows/logs", status="succeeded"):
        run = _table(found.get("workflow_run"))
        place = f"run {run.get('id')}"
        try:
            detail = api.get(f"/workflows/run/{run.get('id')}")
        except (Failed, Useless) as error:  # The run may have been deleted meanwhile.
            yield BadRow(place, str(error))
            continue
        given, came = _table(detail.get("inputs")), _table(detail.get("outputs"))
        yield columns.read(place, {**came, **given})


def first_turns(
    api: Api, columns: Columns, users: Sequence[str]
) -> Iterator[Row | BadRow]:
    """The first question of each conversation that ``users`` had with a chat app.

    Later questions depend on earlier ones, so other users do not ask them.
    """
    for user in users:
        last: dict[str, str] = {}
        while True:
            page = api.get("/conversations", user=user, limit=_PAGE, **last)
            found = _rows(page)
            for conversation in found:
                first = _first_message(api, user, str(conversation.get("id")))
                if first is not None:
                    data = {
                        **_table(first.get("inputs")),
                        columns.question: first.get("query"),
                        columns.answer: first.get("answer"),
                    }
                    yield columns.read(f"conversation {conversation.get('id')}", data)
            if not found or not page.get("has_more"):
                break
            last = {"last_id": str(found[-1].get("id"))}


def _first_message(api: Api, user: str, conversation: str) -> dict[str, Any] | None:
    # The pages go back in time; the messages in a page go forward.
    first: dict[str, Any] | None = None
    before: dict[str, str] = {}
    while True:
        page = api.get(
            "/messages",
            user=user,
            conversation_id=conversation,
            limit=_PAGE,
            **before,
        )
        found = _rows(page)
        first = found[0] if found else first
        if not found or not page.get("has_more"):
            return first
        before = {"first_id": str(found[0].get("id"))}


def _pages(api: Api, path: str, **query: str) -> Iterator[dict[str, Any]]:
    number = 1
    while True:
        page = api.get(path, page=number, limit=_PAGE, **query)
        found = _rows(page)
        yield from found
        if not found or not page.get("has_more"):
            return
        number += 1


def _rows(page: dict[str, Any]) -> list[dict[str, Any]]:
    found = page.get("data")
    rows = found if isinstance(found, list) else []
    return [row for row in rows if isinstance(row, dict)]


def _table(value: Any) -> dict[str, Any]:
    """An object, which older versions of Dify send as text."""
    if isinstance(value, str):
        return json_object(value)
    return value if isinstance(value, dict) else {}
