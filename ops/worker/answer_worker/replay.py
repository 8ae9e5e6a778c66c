"""Queue the dead events again: ``python -m answer_worker.replay``.

Run it after the cause is removed. Events that fail again return to the queue of the dead.
"""

import queue
import sys

from answer_worker.app import app
from answer_worker.queues import DEAD
from answer_worker.tasks import run, ship


def main() -> int:
    """Queue all dead events again, and print their number."""
    count = 0
    with app.connection_for_read() as connection:
        DEAD(connection.channel()).declare()
        dead = connection.SimpleQueue(DEAD)
        for _ in range(dead.qsize()):
            try:
                message = dead.get(timeout=1)
            except queue.Empty:
                break
            event, task = message.payload["event"], message.payload.get("task")
            if task:
                run.delay(task, event)
            else:
                ship.delay([event])
            message.ack()
            count += 1
        dead.close()
    sys.stdout.write(f"{count} handed over anew\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
