"""Many look-ups at once, some of them in each round trip."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cachecore import policy
from cachecore.batch import bytes_of
from cachecore.errors import StoreError, UnkeyableError
from cachecore.finder import Look
from cachecore.keys import SWITCH_FIELD
from cachecore.loads import Loads
from cachecore.policy import Reason
from cachecore.request import Request, tags_of
from cachecore.stores.base import Found

# Entries asked for in one round trip, and kept in one: more would not pass within a
# store's time limit.
PER_ROUND_TRIP: Final = 32


class ManyFinder(Loads):
    """A shelf that is filled by loads, and looked through by the batch."""

    def find_many(
        self, request: Request, forms: Sequence[Mapping[str, object]]
    ) -> list[Look]:
        """A look-up for each of ``forms``. Never raises for the store."""
        reason = policy.bypass(request.rules, request.control, request.traits)
        if reason is not None:
            return [Look(reason)] * len(forms)
        requests = [replace(request, form=form) for form in forms]
        looks: list[Look] = []
        for start in range(0, len(requests), PER_ROUND_TRIP):
            some = requests[start : start + PER_ROUND_TRIP]
            if any(look.failed for look in looks[-PER_ROUND_TRIP:]):
                looks += [Look(Reason.UNAVAILABLE, failed=True)] * len(some)
            else:
                looks += self._find_some(some)
        return looks

    def _find_some(self, requests: Sequence[Request]) -> list[Look]:
        began = self._timer()
        keys = [self._key_or_none(request) for request in requests]
        known = [key for key in keys if key is not None]
        fields = self._keyspace.stamp_fields(tags_of(requests[0]))
        times = began, self._timer()
        kept_out = [self._keyspace.quarantine_field(key) for key in known]
        try:
            values, (switch, *texts) = self._store.look_up_many(
                known, self._keyspace.stamps, [SWITCH_FIELD, *fields, *kept_out]
            )
        except StoreError:
            return [Look(Reason.UNAVAILABLE, failed=True)] * len(requests)
        stamps, until = texts[: len(fields)], texts[len(fields) :]
        found = {
            key: Found(value, (switch, end, *stamps))
            for key, value, end in zip(known, values, until, strict=True)
        }
        looks: list[Look] = []
        failed = False
        for request, key in zip(requests, keys, strict=True):
            if key is None:
                look = Look(Reason.UNKEYABLE)
            elif failed:  # Weighing may have to delete what does not decode.
                look = Look(Reason.UNAVAILABLE, failed=True)
            else:
                look = self._weigh(request, key, fields, found[key], bytes_of, times)
            failed = failed or look.failed
            looks.append(look)
        # Each has its share of the one round trip.
        shares = len(looks)
        return [
            replace(
                look,
                seconds=look.seconds / shares,
                key_seconds=look.key_seconds / shares,
            )
            for look in looks
        ]

    def _key_or_none(self, request: Request) -> str | None:
        try:
            return self.key(request)
        except UnkeyableError:
            return None
