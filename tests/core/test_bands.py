"""The comparisons that a band of scores needs before it serves."""

from cachecore.events import Subject
from cachecore.keys import Keyspace
from cachecore.meaning.bands import Band, band_of, needed
from cachecore.meaning.evidence import Evidence, Trust, shown
from cachecore.policy import BAND_STARTS
from cachecore.stores.base import Page
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import each


def after(right: int, wrong_before: int = 0) -> Band:
    band = Band()
    for _ in range(wrong_before):
        band.add(right=False)
    for _ in range(right):
        band.add(right=True)
    return band


@each(("max_wrong", "enough"), [(0.01, 299), (0.02, 149)])
def test_nothing_is_served_before_so_many_right_comparisons(
    max_wrong: float, enough: int
) -> None:
    assert needed(max_wrong, 0) == enough
    assert not after(enough - 1).serves(max_wrong)
    assert after(enough).serves(max_wrong)


def test_a_wrong_one_closes_a_band_and_the_next_time_takes_more() -> None:
    band = after(299)
    band.add(right=False)
    assert not band.serves(0.01)
    for _ in range(299):
        band.add(right=True)
    assert not band.serves(0.01)
    assert needed(0.01, 1) > 400


def test_a_band_that_serves_is_compared_less_the_more_it_has_shown() -> None:
    shares = [after(count).share(0.01, 0.05) for count in (0, 299, 1000, 5000, 50_000)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0.05


def test_a_score_lies_in_one_band_or_in_none() -> None:
    assert band_of(0.09) is None
    assert [band_of(bound) for bound in BAND_STARTS] == list(range(len(BAND_STARTS)))
    assert band_of(1.0) == len(BAND_STARTS) - 1


def test_bands_are_what_their_comparisons_make_of_them() -> None:
    trust = Trust()
    for record in [f"2+{n}" for n in range(299)] + ["0-a", "9+b", "", "x"]:
        trust.add(record)
    serving = [number for number, band in enumerate(trust.bands) if band.serves(0.01)]
    assert serving == [2]


def test_the_state_of_a_band_is_sealed_and_an_unreadable_one_is_skipped() -> None:
    store, keyspace, secret = MemoryStore(), Keyspace("n"), b"k" * 32
    week = 7 * 86400.0
    mine = Evidence(store, keyspace, secret, lambda: 3 * week)
    mine.show("mark", Subject("llm", "gpt"), 3, after(10), 0.01, locked=False)
    hash_ = keyspace.bands(3)
    store.publish([Page(hash_, {"x": "", "y": "{}", "z": "00000"}, 60)])
    ((name, sealed), *_) = store.gather([hash_])[0].items()
    assert name == "mark.3"
    assert "gpt" not in sealed
    (state,) = shown(store, keyspace, secret, 4.5 * week)
    assert (state.subject.label, state.band, state.missing) == ("gpt", 3, 289)
    assert shown(store, keyspace, None, 3.5 * week) == []
    assert shown(store, keyspace, secret, 5.5 * week) == [], "a week that is over"
