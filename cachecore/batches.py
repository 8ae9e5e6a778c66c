"""Many small answers at once: what is known comes from the store, the rest is loaded.

Made for embeddings: each text is an entry of its own, so that a batch with one new
text sends one. A text that another batch of this process is loading is waited for.
Between processes nothing is waited for: a text costs too little for a lease.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cachecore import policy
from cachecore.batch import Batch, Item, Led, LoadMany, result_of, show
from cachecore.entry import Cost
from cachecore.errors import LeaderGone, NothingCached, StoreError
from cachecore.finder import Look, Stamps
from cachecore.flight_table import FlightTable
from cachecore.flights import IDLE_LIMIT, MORTAL_IDLE_LIMIT, Flight
from cachecore.keys import Keyspace
from cachecore.loads import MAX_LEADERS
from cachecore.many import PER_ROUND_TRIP, ManyFinder
from cachecore.metrics import Ended, Followed, Kept, Loaded, Result, Stale
from cachecore.policy import Control, Reason, Refusal
from cachecore.request import Request
from cachecore.stores.base import Store, Write
from cachecore.trips import LENIENT

# Landings of single answers: a few of the largest batches.
_REMEMBERED: Final = 16_384


class Batches(ManyFinder):
    """A cache of answers that are asked for by the batch."""

    def __init__(self, store: Store, keyspace: Keyspace, **options: Any) -> None:
        super().__init__(store, keyspace, **options)
        # A table of its own: a batch has thousands of flights, and the other kinds
        # would be forgotten for them.
        self._texts = FlightTable(_REMEMBERED)

    def batch(
        self,
        request: Request,
        forms: Sequence[Mapping[str, object]],
        load: LoadMany,
        *,
        outlives: bool = True,
    ) -> list[Item]:
        """The answer to each of ``forms``, in order; ``request`` says all else of them.

        ``outlives`` says that ``load`` can go on when its caller has left. Raises what
        ``load`` raises, and NothingCached where one is missing under ``only``.
        """
        batch = Batch(
            request, forms, load, IDLE_LIMIT if outlives else MORTAL_IDLE_LIMIT
        )
        batch.left = list(range(len(forms)))
        began, result = self._timer(), Result.FAILED
        try:
            items = self._answered(batch)
            result = result_of(batch)
        except NothingCached:
            result = Result.NOTHING
            raise
        else:
            return items
        finally:
            took = self._timer() - began
            if forms:
                self._tell(Ended(request.subject, result, took, took))

    def _answered(self, batch: Batch) -> list[Item]:
        forms = batch.forms
        try:
            for round_ in range(MAX_LEADERS):
                self._round(batch, told=round_ > 0)
                if not batch.left:
                    break
            self._load_many(batch, {}, batch.left)
        except Exception as error:
            if not self._spare_many(batch, error):
                raise
        if len(batch.items) < len(forms):
            msg = "the load gave fewer answers than it was asked for"
            raise LookupError(msg)
        return [batch.items[place] for place in range(len(forms))]

    # --- one round: what is known, what is mine to load, what others load --

    def _round(self, batch: Batch, *, told: bool) -> None:
        request, mark = batch.request, self._texts.mark()
        looks = self._known(batch, told=told)
        if batch.left and request.control is Control.ONLY:
            raise NothingCached("there is no cached answer for this request")
        mine: dict[int, Led] = {}
        own: dict[str, Flight] = {}
        theirs: dict[int, tuple[str, Flight]] = {}
        alone, again = [], []
        stamps = self._settled(batch, looks)
        for place in batch.left:
            key = looks[place].key
            if stamps is None or not looks[place].writable:
                alone.append(place)
                continue
            if key in own:  # the same text once more
                theirs[place] = key, own[key]
                continue
            flight, leads = self._texts.join(
                key,
                stamps,
                request.credential,
                mark=mark,
                alone=request.control is Control.REFRESH,
                idle=batch.idle,
            )
            if flight is None:
                again.append(place)
            elif leads:
                absent = looks[place].reason is Reason.ABSENT
                mine[place] = Led(key, stamps, flight, absent)
                own[key] = flight
            else:
                theirs[place] = key, flight
        # First what others may be waiting for: two batches may wait for each other.
        self._load_many(batch, mine, alone)
        batch.left = again + self._follow_all(batch, theirs)

    def _follow_all(
        self, batch: Batch, theirs: Mapping[int, tuple[str, Flight]]
    ) -> list[int]:
        """Take what others load; the places for which that came to nothing."""
        again = []
        for place, (key, flight) in theirs.items():
            item = self._followed(batch.request, key, flight)
            if item is None:
                again.append(place)
            else:
                batch.items[place] = item
        return again

    def _known(self, batch: Batch, *, told: bool) -> dict[int, Look]:
        request = batch.request
        forms = [batch.forms[place] for place in batch.left]
        if batch.failed:
            found = [Look(Reason.UNAVAILABLE, failed=True)] * len(forms)
        else:
            found = self.find_many(request, forms)
        looks = dict(zip(batch.left, found, strict=True))
        for place, look in looks.items():
            if not told:
                batch.reasons.add(look.reason)
                self.tell_look(look, request)
            if look.entry is not None:
                entry = look.entry
                batch.items[place] = Item(entry.payload, entry.cost, billed=False)
            batch.failed = batch.failed or look.failed
        batch.left = [place for place in batch.left if place not in batch.items]
        return looks

    def _settled(self, batch: Batch, looks: Mapping[int, Look]) -> Stamps | None:
        """The stamps of this batch's entries: all carry the same tags."""
        if batch.failed:
            return None
        wanted = [looks[place] for place in batch.left if looks[place].writable]
        stamps = self.settle(wanted[0]) if wanted else None
        batch.failed = bool(wanted) and stamps is None
        return stamps

    def _followed(self, request: Request, key: str, flight: Flight) -> Item | None:
        """What another batch has loaded; None where it did not."""
        try:
            for pieces in flight.follow(request.credential):
                last = pieces[-1]
                tokens = last.usage.prompt_tokens if last.usage else 0
                self._tell(Followed(request.subject))
                return Item(last.data, Cost(prompt_tokens=tokens), billed=False)
        except LeaderGone:
            self._texts.leave(key, flight)
        return None

    # --- loading and keeping ----------------------------------------------

    def _load_many(
        self, batch: Batch, mine: Mapping[int, Led], alone: Sequence[int]
    ) -> None:
        request, waiting = batch.request, dict(mine)
        started = self._timer()
        try:
            for items in batch.load([*mine, *alone]) if mine or alone else ():
                seconds, batch.loaded = self._timer() - started, True
                self._tell(Loaded(request.subject, seconds, seconds))
                batch.items.update(items)
                for place in items.keys() & waiting.keys():
                    show(waiting[place].flight, items[place])
                self._keep_items(batch, {i: mine[i] for i in items if i in mine})
                for place in items.keys() & waiting.keys():
                    led = waiting.pop(place)
                    self._texts.leave(led.key, led.flight)
                started = self._timer()
        except BaseException as error:
            # What failed was a call for all that were left: another's text may be why.
            left = len({*mine, *alone} - batch.items.keys())
            self._abandon(waiting, error if left == 1 else LeaderGone("a load failed"))
            raise
        self._abandon(waiting, LeaderGone("the load gave no answer"))

    def _abandon(self, waiting: Mapping[int, Led], error: BaseException) -> None:
        for led in waiting.values():
            # Off the table before followers wake: they would join it again.
            self._texts.leave(led.key, led.flight)
            led.flight.crash(error)

    def _keep_items(self, batch: Batch, led: Mapping[int, Led]) -> None:
        request, writes = batch.request, []
        for place, one in led.items():
            item = batch.items[place]
            if not item.keep:
                self._refuse(request, Refusal.INVALID_OUTPUT)
            elif self._texts.is_current(one.key, one.flight):
                sealed = self.seal(
                    request, one.key, one.stamps, item.payload, item.cost
                )
                if sealed is not None:
                    write = Write(one.key, sealed.data, sealed.ttl, one.absent)
                    writes.append((one, write))
        for start in range(0, len(writes), PER_ROUND_TRIP):
            self._write_some(batch, writes[start : start + PER_ROUND_TRIP])

    def _write_some(self, batch: Batch, writes: Sequence[tuple[Led, Write]]) -> None:
        request = batch.request
        if not batch.failed:
            try:
                self._store.keep_many([write for _, write in writes])
            except StoreError:
                batch.failed = True
        for one, write in writes:
            if batch.failed:
                self._refuse(request, Refusal.UNAVAILABLE)
            elif self._texts.is_current(one.key, one.flight):
                self._tell(Kept(request.subject, len(write.value)))
            else:  # A refresh overtook it: rather nothing than the older one.
                batch.failed = not self._drop(one.key)

    def _spare_many(self, batch: Batch, error: Exception) -> bool:
        """Fill what is missing with answers past their time; whether that was all.

        Looked up anew: what was invalidated while the load failed is dead.
        """
        request, window = batch.request, batch.request.rules.stale_if_error
        lenient = window and request.control in LENIENT and not batch.failed
        if not lenient or not request.excuses(error):
            return False
        missing = [i for i in range(len(batch.forms)) if i not in batch.items]
        looks = self.find_many(request, [batch.forms[place] for place in missing])
        for place, look in zip(missing, looks, strict=True):
            entry = look.entry or look.stale
            if entry is None:
                return False
            if look.entry is None and not policy.may_lag(entry, window, self._clock()):
                return False
            batch.items[place] = Item(entry.payload, entry.cost, billed=False)
        for _ in missing:
            self._tell(Stale(request.subject))
        return True
