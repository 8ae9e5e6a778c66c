"""The queues of the broker."""

from typing import Final

from kombu.entity import Exchange, Queue

QUEUE: Final = "answer-cache"
# Events that could not be processed, for people to examine: no worker reads this queue.
DEAD: Final = Queue(
    "answer-cache-dead",
    Exchange(""),
    routing_key="answer-cache-dead",
    # Otherwise a full broker would accept nothing more from any client.
    queue_arguments={"x-max-length": 100_000},
)
