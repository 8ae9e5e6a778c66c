"""Questions in other words: the restatements and traps that pass, and the time."""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.meaning import pairs
from bench.meaning.fit import fit, folds
from bench.meaning.pairs import Pair
from bench.measure import Result, quartiles
from bench.peers import installing
from cachecore.meaning.bands import ALONE
from cachecore.meaning.guards import veto
from cachecore.meaning.index import MAX_QUESTIONS, Index, Vector
from cachecore.meaning.score import features
from cachecore.policy import BAND_STARTS
from cachecore.stores.memory import MemoryStore

_HERE = Path(__file__).parent
_TRAPS = 0.05  # that may pass if no judge is asked
_JUDGE = (0.98, 0.01)  # how often a judge says yes to a restatement, and to a trap
_FOLDS = 5


def vectors(found: Sequence[Pair]) -> dict[str, list[float]] | None:
    """The vector of each text, by a small model; None if it can't be installed."""
    texts = sorted({text for pair in found for text in (pair.one, pair.other)})
    made = _in_its_own(_HERE / "requirements.txt", _HERE / "vectors.py", texts)
    return None if made is None else dict(zip(texts, made, strict=True))


def _in_its_own(requirements: Path, script: Path, given: Any) -> Any:
    """The JSON output of a script in a separate environment; None without one."""
    python = installing.python(requirements)
    if python is None:
        return None
    done = subprocess.run(
        [str(python), str(script)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def cosines(found: Sequence[Pair]) -> list[float] | None:
    """The cosines of each pair's vectors; None if the model can't be installed."""
    known = vectors(found)
    if known is None:
        return None
    made = {text: Vector.of(numbers) for text, numbers in known.items()}
    return [made[pair.one].cosine(made[pair.other]) for pair in found]


def _peers(found: Sequence[Pair]) -> Iterator[Result]:
    """The answers that caches with a threshold serve for the same pairs, by default."""
    pairs_of = [(pair.one, pair.other) for pair in found]
    given = {"pairs": pairs_of, "vectors": vectors(found)}
    place = _HERE.parent / "semantic"
    served = _in_its_own(place / "requirements.txt", place / "served.py", given)
    for name, hits in (served or {}).items():
        for same, what in ((True, "restatements"), (False, "traps")):
            shares = [hit for hit, p in zip(hits, found, strict=True) if p.same is same]
            yield _share(f"{what} that {name} serves", [statistics.mean(shares)])


def weights() -> tuple[list[float], float]:
    """The weights of ``cachecore.meaning.score``, learned again from fow-cache's pairs."""
    found = [pair for pair in pairs.fow() if not veto(pair.one, pair.other)]
    near = cosines(found)
    if near is None:
        raise SystemExit("The model for vectors can't be installed here.")
    return fit(_features(found, near), [pair.same for pair in found])


def _features(found: Sequence[Pair], near: Sequence[float]) -> list[list[float]]:
    return [features(p.one, p.other, c) for p, c in zip(found, near, strict=True)]


def run() -> Iterator[Result]:
    """Shares of restatements and traps that pass, held out; and the time of a look-up."""
    found = pairs.fow()
    near = cosines(found)
    if near is None:
        print(
            "  the model for vectors can't be installed here: left out", file=sys.stderr
        )
        return
    rows = _features(found, near)
    vetoed = [bool(veto(pair.one, pair.other)) for pair in found]
    passed = []
    for seed in range(_FOLDS):
        scores = _held_out(found, rows, vetoed, seed)
        passed.append(_passed(found, scores, _TRAPS))
    yield _share("restatements that pass, no judge, 5 % of traps", passed, 0.55)
    judged = [_judged(found, seed) for seed in range(_FOLDS)]
    yield _share("restatements that pass with a judge", [one for one, _ in judged], 0.9)
    traps = [other for _, other in judged]
    yield _share("traps that pass with a judge", traps, 0.01, least=False)
    yield from _peers(found)
    everything = fit(
        [row for row, no in zip(rows, vetoed, strict=True) if not no],
        [pair.same for pair, no in zip(found, vetoed, strict=True) if not no],
    )
    for name, suite in (("English", pairs.english()), ("Chinese", pairs.chinese())):
        yield from _of_suite(name, suite, everything)
    yield lookup()


def _held_out(
    found: Sequence[Pair],
    rows: Sequence[Sequence[float]],
    vetoed: Sequence[bool],
    seed: int,
) -> list[float]:
    scores = [-1.0] * len(found)
    parts = folds(len(found), _FOLDS, seed)
    for part in parts:
        rest = [n for other in parts if other is not part for n in other]
        learned = [n for n in rest if not vetoed[n]]
        model = fit([rows[n] for n in learned], [found[n].same for n in learned])
        for n in part:
            if not vetoed[n]:
                # above the score of any pair that a guard refused
                scores[n] = _dot(model, rows[n]) + 100
    return scores


def _dot(model: tuple[Sequence[float], float], row: Sequence[float]) -> float:
    return model[1] + sum(w * x for w, x in zip(model[0], row, strict=True))


def _passed(found: Sequence[Pair], scores: Sequence[float], most: float) -> float:
    """The share of restatements above the score that ``most`` of the traps pass."""
    traps = sorted(
        (s for s, p in zip(scores, found, strict=True) if not p.same), reverse=True
    )
    limit = traps[int(most * len(traps))]
    same = [s for s, p in zip(scores, found, strict=True) if p.same]
    return sum(s > limit for s in same) / len(same)


def _judged(found: Sequence[Pair], seed: int) -> tuple[float, float]:
    """The pairs that pass a scripted judge with stated errors, after the guards."""
    chance = random.Random(seed)
    passed: dict[bool, list[bool]] = {True: [], False: []}
    for pair in found:
        yes = chance.random() < _JUDGE[not pair.same]
        passed[pair.same].append(yes and not veto(pair.one, pair.other, judged=True))
    return statistics.mean(passed[True]), statistics.mean(passed[False])


def _of_suite(
    name: str, suite: Sequence[Pair], model: tuple[Sequence[float], float]
) -> Iterator[Result]:
    near = cosines(suite) or []
    limit = {True: [], False: []}  # type: dict[bool, list[bool]]
    for pair, row in zip(suite, _features(suite, near), strict=True):
        likely = 1 / (1 + 2.718281828 ** -_dot(model, row)) >= ALONE
        limit[pair.same].append(likely and not veto(pair.one, pair.other))
    for same, what in ((True, "restatements"), (False, "traps")):
        share = statistics.mean(limit[same])
        count = len(limit[same])
        yield _share(f"{what} compared, of {count} made by rules, {name}", [share])


def _share(
    name: str,
    shares: Sequence[float],
    limit: float | None = None,
    *,
    least: bool = True,
) -> Result:
    middle = statistics.median(shares)
    spread = quartiles(shares) if len(shares) > 1 else (middle, middle)
    return Result(name, middle, 1.0, middle, spread, limit, "", "", least)


def lookup(dimensions: int = 384, rounds: int = 25) -> Result:
    """The nearest of as many questions as a partition holds; limit in ms."""
    chance = random.Random(7)
    store, index, log = MemoryStore(), None, "log"
    index = Index(store, None)
    vectors = [
        Vector.of([chance.gauss(0, 1) for _ in range(dimensions)]) for _ in range(500)
    ]
    for number in range(MAX_QUESTIONS):
        index.add(log, f"key {number}", f"question {number}", vectors[number % 500])
    index.nearest(log, vectors[0], 4, whole=True)
    times = []
    for number in range(rounds):
        began = time.perf_counter()
        index.nearest(log, vectors[number], 4, whole=False)
        times.append((time.perf_counter() - began) * 1e6)
    middle = statistics.median(times)
    low, high = quartiles(times)
    spread = low / 1e3, high / 1e3
    name = f"nearest of {MAX_QUESTIONS:,} vectors of {dimensions} numbers"
    return Result(name, middle, 0.0, middle / 1e3, spread, 5.0, "ms")


def main() -> None:
    """Print the weights for ``cachecore/meaning/score.py``."""
    learned, bias = weights()
    print("WEIGHTS: Final = (")
    for weight in learned:
        print(f"    {weight:.4f},")
    print(f")\nBIAS: Final = {bias:.4f}")
    print(f"# bands from {BAND_STARTS}", file=sys.stderr)
