"""The queues of the broker."""

from typing import Final

from kombu.entity import Exchange, Queue

QUEUE: Final = "answer-cache"
# What could not be worked off, for people to look at: nobody consumes it.
DEAD: Final = Queue(
    "answer-cache-dead",
    Exchange(""),
    routing_key="answer-cache-dead",
    # A broker that is full takes nothing more, from anybody.
    queue_arguments={"x-max-length": 100_000},
)
