"""The Celery app. Start a worker with ``celery -A answer_worker.app worker``."""

import sys
from typing import Final

from celery import Celery
from kombu.entity import Exchange, Queue

from answer_worker import settings

QUEUE: Final = "answer-cache"
# What could not be worked off, for people to look at: nobody consumes it.
DEAD: Final = Queue(
    "answer-cache-dead",
    Exchange(""),
    routing_key="answer-cache-dead",
    # A broker that is full takes nothing more, from anybody.
    queue_arguments={"x-max-length": 100_000},
)
_MINUTE: Final = 60
# Between two tries of Elasticsearch, in seconds. A task waits at the worker meanwhile,
# and the broker must not think it lost.
LONGEST_PAUSE: Final = 600.0
TIME_LIMIT: Final = 5 * _MINUTE


def _settings() -> settings.Settings:
    try:
        return settings.read()
    except settings.BadSetting as error:
        sys.exit(str(error))


SETTINGS: Final = _settings()

app = Celery("answer-cache", broker=SETTINGS.broker, include=["answer_worker.tasks"])
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    # A task that its worker dies in is given to another; all of them bear that.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_time_limit=TIME_LIMIT,
    task_soft_time_limit=TIME_LIMIT - _MINUTE,
    task_serializer="json",
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    # The relay forgets what the broker has confirmed, and nothing before.
    broker_transport_options={
        "confirm_publish": True,
        "visibility_timeout": 2 * (LONGEST_PAUSE + TIME_LIMIT),
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
    },
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
)
