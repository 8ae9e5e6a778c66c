"""The errors of the core. Errors of a loader pass through unchanged."""


class CacheError(Exception):
    """The base of all errors of the core."""


class ConfigError(CacheError):
    """A setting is missing or invalid.

    ``str(error)`` is one English sentence that names the field and the remedy
    and never repeats a secret.
    """

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class NoTenant(ConfigError):
    """Without a Redis, nothing in the form distinguishes its workspace from others."""


class UnkeyableError(CacheError):
    """A request holds a value that has no canonical form (NaN, a lone surrogate).

    It bypasses the cache.
    """


class StoreError(CacheError):
    """The store did not carry out a call. ``remedy`` is a sentence for an operator.

    It never leaves ``Cache``'s answering path.
    """

    def __init__(self, remedy: str) -> None:
        super().__init__(remedy)
        self.remedy = remedy


class StoreTimeout(StoreError):
    """The store did not answer in time. Alone this is no evidence of an outage."""


class NotAsked(StoreError):
    """Nothing was sent to the store, so nothing has happened there.

    The store is known not to answer, all connections are busy, or a connection is not
    ready yet.
    """


class CorruptEntry(CacheError):
    """Bytes that do not decode to an entry written under this key."""


class NothingCached(CacheError):
    """The request said ``only``, and no entry may be served."""


class FlightError(CacheError):
    """A follower's flight ended without a complete answer."""


class LeaderGone(FlightError):
    """The leader ended without an answer before this follower had shown anything."""


class LeaderStalled(LeaderGone):
    """The leader may be alive, but has made no progress for too long."""


class LeaderFailed(FlightError):
    """The load of a leader in another process failed with an error of this name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name, self.text = name, text


class FlightBroken(FlightError):
    """The leader ended without an answer after this follower had shown a part.

    The follower must not continue with another answer, which would mix the two.
    """
