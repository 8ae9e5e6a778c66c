import random
import zlib
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cachecore import entry as module
from cachecore.entry import MAGIC, Cost, Entry, decode, order_of, seal, serialise
from cachecore.errors import CorruptEntry
from tests.core.helpers import each

KEY = "dify:cache:v1:t:llm:{aa}"
SECRET = b"s" * 32
ENTRY = Entry(
    payload={"text": "hello 你好"},
    created_at=10.0,
    fresh_until=20.0,
    stale_until=30.0,
    stamps={"t:1": "x"},
    cost=Cost(1, 2, 0.5, "EUR", 1.5),
)
LONG = Entry({"text": "prose " * 2000}, 1.0, 2.0, 3.0, {"t": "x"})
BINARY = Entry(bytes(range(256)) * 40, 1.0, 2.0, 3.0, {"t": "x"})
EMPTY = Entry(b"", 1.0, 2.0, 3.0, {"t": "x"})


def encode(
    entry: Entry, key: str, secret: bytes | None = None, order: int = 0
) -> bytes:
    return seal(serialise(entry), key, secret, order)


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("entry", [ENTRY, LONG, BINARY, EMPTY])
def test_an_entry_reads_back_as_it_was(entry: Entry, secret: bytes | None) -> None:
    assert decode(encode(entry, KEY, secret), KEY, secret) == entry


def test_prose_takes_less_than_half_its_size() -> None:
    assert len(encode(LONG, KEY)) < 0.5 * len(LONG.payload["text"])


@each("secret", [None, SECRET])
def test_an_entry_under_another_key_does_not_decode(secret: bytes | None) -> None:
    with pytest.raises(CorruptEntry):
        decode(encode(ENTRY, KEY, secret), KEY + "x", secret)


def test_nothing_readable_is_stored_with_a_secret() -> None:
    assert b"hello" not in encode(ENTRY, KEY, SECRET)


def test_a_wrong_secret_does_not_open_an_entry() -> None:
    with pytest.raises(CorruptEntry):
        decode(encode(ENTRY, KEY, SECRET), KEY, b"w" * 32)


def test_a_plain_entry_is_refused_where_a_secret_is_set() -> None:
    with pytest.raises(CorruptEntry):
        decode(encode(ENTRY, KEY), KEY, SECRET)


def test_an_encrypted_entry_is_refused_where_no_secret_is_set() -> None:
    with pytest.raises(CorruptEntry):
        decode(encode(ENTRY, KEY, SECRET), KEY)


def test_another_format_version_does_not_decode() -> None:
    data = bytearray(encode(ENTRY, KEY))
    data[2] = 9
    with pytest.raises(CorruptEntry, match="format 9"):
        decode(bytes(data), KEY)


@each(
    "data",
    [
        b"",
        b"d",
        b"dc",
        b"dc\x02",
        b"dc\x02\x00",
        b"dc\x02\x00" + b"0" * 16,
        b"{}",
        b"\x80\x04",
    ],
)
def test_bytes_that_are_no_entry_do_not_decode(data: bytes) -> None:
    with pytest.raises(CorruptEntry):
        decode(data, KEY)


def test_an_entry_carries_in_clear_when_it_was_asked_for() -> None:
    for secret in (None, SECRET):
        data = encode(ENTRY, KEY, secret, order=1_795_708_800_123_456)
        assert order_of(data) == 1_795_708_800_123_456
        moved = data[:4] + b"9" * 16 + data[20:]
        with pytest.raises(CorruptEntry):
            decode(moved, KEY, secret)
    assert order_of(None) is order_of(b"rubbish") is None
    assert order_of(data[:4] + b"x" * 16) is None


def test_a_zip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from cachecore import entry as module

    monkeypatch.setattr(module, "MAX_TEXT", 10_000)
    bomb = zlib.compress(b"0" * 100_000)
    header = MAGIC + b"\x02\x01" + b"0" * 16
    data = header + module._digest(KEY, header, bomb) + bomb
    with pytest.raises(CorruptEntry, match="too much"):
        decode(data, KEY)


@each("secret", [None, SECRET])
def test_no_changed_byte_and_no_cut_goes_unnoticed(secret: bytes | None) -> None:
    chance = random.Random(7)
    whole = encode(ENTRY, KEY, secret)
    for _ in range(500):
        data = bytearray(whole)
        if chance.random() < 0.5:
            position = chance.randrange(len(data))
            data[position] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        with pytest.raises(CorruptEntry):
            decode(bytes(data), KEY, secret)


@each("payload", [[float("nan")], {"a": [1, (float("inf"),)]}])
def test_a_number_that_json_cannot_carry_is_refused_wherever_it_is(
    payload: Any,
) -> None:
    with pytest.raises(TypeError):
        serialise(Entry(payload, 1.0, 2.0, 3.0, {"t": "x"}))


def test_an_entry_has_the_layout_that_other_versions_read() -> None:
    text = serialise(ENTRY)
    plain, sealed = encode(ENTRY, KEY), encode(ENTRY, KEY, SECRET, 5)
    assert plain[:20] == b"dc\x02\x00" + b"0" * 16
    assert plain[36:] == text
    assert sealed[:20] == b"dc\x02\x02" + b"0" * 15 + b"5"
    head = sealed[:20] + KEY.encode()
    assert AESGCM(SECRET).decrypt(sealed[20:32], sealed[32:], head) == text
    assert serialise(BINARY).endswith(b"}\0" + BINARY.payload)


def test_only_long_texts_are_deflated() -> None:
    assert [encode(one, KEY)[3] for one in (ENTRY, BINARY, LONG)] == [0, 0, 1]


def plain(header: bytes, text: bytes) -> bytes:
    header += b"0" * 16
    return header + module._digest(KEY, header, text) + text


@each(
    ("data", "secret", "says"),
    [
        (plain(b"xx\x02\x00", serialise(ENTRY)), None, "not an entry"),
        (plain(b"dc\x02\x04", serialise(ENTRY)), None, "format 2/4"),
        (plain(b"dc\x02\x01", b"not deflated"), None, "inflate"),
        (plain(b"dc\x02\x01", zlib.compress(serialise(LONG))[:-4]), None, "too little"),
        (plain(b"dc\x02\x00", serialise(ENTRY)), SECRET, "secret setting"),
        (plain(b"dc\x02\x02", serialise(ENTRY)), SECRET, "not open"),
        (plain(b"dc\x02\x02", serialise(ENTRY)), None, "secret setting"),
    ],
)
def test_a_forged_entry_with_a_right_digest_is_refused(
    data: bytes, secret: bytes | None, says: str
) -> None:
    with pytest.raises(CorruptEntry, match=says):
        decode(data, KEY, secret)


def test_only_entries_of_this_format_have_an_order() -> None:
    assert order_of(b"0" * 20) is None
    assert order_of(b"dc\x01\x00" + b"0" * 16) is None
    assert order_of(encode(ENTRY, KEY)) == 0


@each(
    "fields",
    [
        {"payload": 1, "created_at": "1"},
        {"fresh_until": None},
        {"stale_until": "x"},
        {"stamps": []},
        {"cost": 7},
        {"cost": {"x": 1}},
    ],
)
def test_a_sealed_ticket_with_other_fields_is_refused(fields: dict[str, Any]) -> None:
    good = {
        "payload": 1,
        "created_at": 1,
        "fresh_until": 2,
        "stale_until": 3,
        "stamps": {},
        "cost": {},
    }
    assert decode(module.seal(orjson.dumps(good), KEY), KEY).fresh_until == 2
    for text in (orjson.dumps(good | fields), b"{}", b"[" * 100_000):
        with pytest.raises(CorruptEntry):
            decode(module.seal(text, KEY), KEY)
