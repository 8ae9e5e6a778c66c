"""The recent decisions of a process, as other processes read them."""

import base64

import orjson

from cachecore import entry as entries
from cachecore import recent


def test_decisions_of_one_moment_are_listed_the_latest_first() -> None:
    rows = [
        {"at": 5.0, "kind": "llm", "label": "m", "app": "", "reason": name, "key": "k"}
        for name in ("absent", "hit")
    ]
    sealed = entries.seal(
        orjson.dumps({"decisions": rows, "invalidations": []}), "name"
    )
    decisions, _ = recent.unsealed([("name", base64.b85encode(sealed).decode())], None)
    assert [row["reason"] for row in decisions] == ["hit", "absent"]
