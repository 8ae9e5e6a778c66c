"""Mutated entries: each is a miss, deleted and counted; no error, no other answer."""

import random
from collections.abc import Callable

import pytest

from cachecore.entry import decode
from cachecore.errors import CorruptEntry
from tests.core.helpers import Bench, request
from tests.core.test_entry import encode

SECRET = b"s" * 32
ANSWERS = [
    "short",
    "prose " * 2000,
    "你好，世界 " * 500,
    '{"json": [1, 2, {"deep": null}]}',
]


def flip(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _times in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: chance.randrange(len(data))]


def stretch(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.randint(1, 20)) + data[at:]


def swap(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    return chance.choice([other for other in others if other != data])


def splice(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other, at = chance.choice(others), chance.randrange(len(data))
    return data[:at] + other[at:]


def version(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[:2] + bytes([chance.choice([0, 1, 3, 255]), data[3]]) + data[4:]


def flags(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[:3] + bytes([data[3] ^ chance.choice([1, 2, 3, 4, 128])]) + data[4:]


def noise(chance: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return chance.choice(
        [b"", b"\x80\x04.", b"{}", b"null", chance.randbytes(50), data[4:]]
    )


MUTATIONS: list[Callable[[random.Random, bytes, list[bytes]], bytes]] = [
    *(flip, cut, stretch, swap, splice, version, flags, noise)
]


@pytest.mark.parametrize("secret", [None, SECRET], ids=["plain", "encrypted"])
def test_no_mutation_of_an_entry_is_an_exception_or_another_answer(
    secret: bytes | None, much: int
) -> None:
    chance = random.Random(7)
    bench = Bench(cipher_key=secret)
    keys, stored = [], []
    for number, text in enumerate(ANSWERS * 3):
        ask = request(str(number))
        bench.ask(ask, text)
        keys.append(bench.cache.find(ask).key)
        stored.append(bench.store.look_up(keys[-1], "", []).value)
    for round_ in range(5000 * much):
        at = round_ % len(keys)
        mutate = MUTATIONS[round_ // len(keys) % len(MUTATIONS)]
        data = mutate(chance, stored[at], stored)
        if data == stored[at]:
            continue
        bench.store.keep(keys[at], data, 60)
        look = bench.cache.find(request(str(at)))
        assert look.entry is None, mutate.__name__
        assert look.reason == "corrupt", mutate.__name__
        assert bench.store.look_up(keys[at], "", []).value is None


def test_json_that_was_sealed_but_is_no_entry_is_refused(much: int) -> None:
    """Without a secret any writer to Redis can seal; it must still be a miss."""
    from cachecore.entry import seal

    chance = random.Random(9)
    good = decode(encode(_entry(), "k"), "k")
    for _ in range(300 * much):
        text = chance.choice(
            [
                *(b"null", b"[]", b"7", b'"x"', b"{}", b"[" * 100_000, b'{"a":' * 5000),
                b'{"payload":1,"created_at":"x","fresh_until":1,"stale_until":1,"stamps":{},"cost":{}}',
                b'{"payload":1,"created_at":1,"fresh_until":1,"stale_until":1,"stamps":[],"cost":{}}',
                b'{"payload":1,"created_at":1,"fresh_until":1,"stale_until":1,"stamps":{},"cost":{"x":1}}',
                b'{"payload":1,"created_at":1,"fresh_until":1,"stale_until":1,"stamps":{},"cost":7}',
            ]
        )
        with pytest.raises(CorruptEntry):
            decode(seal(text, "k"), "k")
    assert good == _entry()


def _entry():
    from cachecore.entry import Entry

    return Entry("x", 1.0, 2.0, 2.0, {"t": "1"})
