"""The queue of the dead, handed over anew: ``python -m answer_worker.replay``.

For when what they died of is mended. What dies again lies there again.
"""

import queue
import sys

from answer_worker.app import app
from answer_worker.queues import DEAD
from answer_worker.tasks import run, ship


def main() -> int:
    """Hand over what lies there now, and say how much that was."""
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
