import threading

from cachecore.background import Background
from cachecore.errors import StoreError
from tests.core.helpers import await_threads


class Job:
    """Work that fails while it has an error, and counts how often it was tried."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.runs = error, 0
        self.ran = threading.Event()

    def __call__(self) -> None:
        self.runs += 1
        self.ran.set()
        if self.error is not None:
            raise self.error


def test_work_is_done_soon_after_it_is_asked_for() -> None:
    background, job = Background(), Job()
    background.also(job)
    background.wake()
    assert job.ran.wait()


def test_a_job_that_fails_is_no_reason_for_the_others_to_stop() -> None:
    background, bad, good = Background(at_once=True), Job(ValueError()), Job()
    background.also(bad)
    background.also(good)
    background.wake(last=True)
    assert good.runs == 1


def test_a_failed_job_is_repeated_until_the_store_takes_it() -> None:
    background, job = Background(), Job(StoreError("away"))
    background.also(job)
    background.wake()
    for _ in range(20):
        job.ran.clear()
        assert job.ran.wait()
    job.error = None
    while background.woken:
        await_threads("cache-background")


def test_there_is_no_thread_while_there_is_nothing_to_do() -> None:
    background, job = Background(), Job()
    background.also(job)
    for number in range(1, 3):
        background.wake()
        background.wake()
        await_threads("cache-background")
        assert (job.runs, background.woken) == (number, False)


def test_at_once_it_runs_before_the_call_ends_and_only_for_the_last() -> None:
    background, job = Background(at_once=True), Job()
    background.also(job)
    background.wake()
    assert job.runs == 0
    background.wake(last=True)
    assert (job.runs, background.woken) == (1, False)


def test_work_that_asks_for_work_runs_once() -> None:
    background = Background(at_once=True)
    runs: list[int] = []

    def job() -> None:
        runs.append(1)
        background.wake(last=True)

    background.also(job)
    background.wake(last=True)
    assert runs == [1]
