import threading

from cachecore.background import Background
from cachecore.errors import StoreError
from tests.core.helpers import await_threads


class Job:
    """Work that fails until it is mended, and says how often it was tried."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.runs = error, 0
        self.ran = threading.Event()

    def __call__(self) -> None:
        self.runs += 1
        self.ran.set()
        if self.error is not None:
            raise self.error


def test_work_is_done_soon_after_it_is_asked_for() -> None:
    in_background, job = Background(0.001), Job()
    in_background.also(job)
    in_background.wake()
    assert job.ran.wait(5)


def test_a_job_that_fails_is_no_reason_for_the_others_to_stop() -> None:
    in_background, bad, good = Background(at_once=True), Job(ValueError()), Job()
    in_background.also(bad)
    in_background.also(good)
    in_background.wake(last=True)
    assert good.runs == 1


def test_what_the_store_could_not_take_is_tried_until_it_can() -> None:
    in_background, job = Background(0.001), Job(StoreError("away"))
    in_background.also(job)
    in_background.wake()
    for _ in range(20):
        job.ran.clear()
        assert job.ran.wait(5)
    job.error = None
    while in_background.woken:
        await_threads("cache-background")


def test_there_is_no_thread_while_there_is_nothing_to_do() -> None:
    in_background, job = Background(0.001), Job()
    in_background.also(job)
    for number in range(1, 3):
        in_background.wake()
        in_background.wake()
        await_threads("cache-background")
        assert (job.runs, in_background.woken) == (number, False)


def test_at_once_it_runs_before_the_call_ends_and_only_for_the_last() -> None:
    in_background, job = Background(at_once=True), Job()
    in_background.also(job)
    in_background.wake()
    assert job.runs == 0
    in_background.wake(last=True)
    assert (job.runs, in_background.woken) == (1, False)


def test_work_that_asks_for_work_runs_once() -> None:
    in_background = Background(at_once=True)
    runs: list[int] = []

    def job() -> None:
        runs.append(1)
        in_background.wake(last=True)

    in_background.also(job)
    in_background.wake(last=True)
    assert runs == [1]
