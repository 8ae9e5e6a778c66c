"""Streams of questions whose rate of errors changes: how many are served wrongly."""

import random

from cachecore.meaning.bands import Band


def _stream(chance: random.Random, length: int, max_wrong: float) -> tuple[int, int]:
    """Served and wrong answers of a stream whose true rate of errors changes once."""
    band, served, wrong = Band(), 0, 0
    rates = [chance.choice((0.0, 0.001, 0.01, 0.05)) for _ in range(2)]
    changes = chance.randrange(length)
    for number in range(length):
        right = chance.random() >= rates[number >= changes]
        if band.serves(max_wrong) and chance.random() >= band.share(max_wrong, 0.05):
            served += 1
            wrong += not right
        else:
            band.add(right=right)
    return served, wrong


def test_of_1000_streams_that_change_at_most_50_serve_more_wrong_than_allowed() -> None:
    chance, above, any_served = random.Random(22), 0, 0
    for _ in range(1000):
        served, wrong = _stream(chance, 4000, 0.01)
        above += wrong > 0.01 * served
        any_served += served > 0
    assert any_served > 200
    assert above <= 50
