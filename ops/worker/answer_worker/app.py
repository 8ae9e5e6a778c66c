"""The Celery app. Start a worker with ``celery -A answer_worker.app worker``."""

import sys
from typing import Final

from celery import Celery

from answer_worker import settings
from answer_worker.queues import QUEUE

_MINUTE: Final = 60
# The longest pause between two tries of Elasticsearch, in seconds. A task waits at the worker
# meanwhile, and the broker must not give it to another worker.
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
