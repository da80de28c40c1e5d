"""Who read several photographs at once: processes of this machine, or those of a Dask cluster.

Each has a copy of the job, and with it opens the network once. Whole photographs are given out: what goes to
and fro is a name and a reading.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol, Self

from retinalesion.errors import UserError

_AHEAD = 2  # photographs for each that are given out at once
_CONNECT = 30  # seconds


class Job(Protocol):
    """What is sent to workers: a picklable object, whose methods are asked for by name."""

    def prepare(self, threads: int) -> None:
        """Called once in a process of this machine, with the threads that it may use."""
        ...


def cores() -> int:
    """How many of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Processes:
    """Processes of this machine. They end with this one, whatever ends it.

    Args:
        job: for each of them.
        count: of processes; they share the cores.
    """

    def __init__(self, job: Job, count: int) -> None:
        self.ahead = _AHEAD * count
        threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or cores()) // count)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _begin, (job, threads))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, work: str, *arguments: Any) -> "Future[Any]":
        """Begin a piece of work, by the name of the job's method."""
        return self._pool.submit(_work, work, *arguments)

    def result(self, future: "Future[Any]") -> Any:
        """What came of it.

        Raises:
            UserError: a process was ended from outside.
        """
        try:
            return future.result()
        except BrokenExecutor as error:
            raise UserError(
                "a worker was ended from outside, perhaps for lack of memory. What has been read is kept: "
                "the same command goes on, and fewer --workers take less memory."
            ) from error


_job: Any = None


def _begin(job: Job, threads: int) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says what is to be stopped
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job.prepare(threads)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _work(work: str, *arguments: Any) -> Any:
    return getattr(_job, work)(*arguments)


class Cluster:
    """The workers of a Dask cluster, which see the same disk. One that dies is replaced by another.

    Args:
        job: for each of them.
        address: of the scheduler.
        shared: a file that all have to see.

    Raises:
        UserError: Dask is not installed, nobody answers there, or a worker does not see the file.
    """

    def __init__(self, job: Any, address: str, shared: Path) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise UserError(
                "--cluster needs Dask. Install it: pip install 'retinalesion[cluster]'"
            ) from error
        self._client: Any
        try:
            self._client = Client(address, timeout=_CONNECT, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise UserError(f"--cluster {address}: no scheduler of Dask answers there ({error}).") from error
        try:
            blind = [
                worker for worker, sees in self._client.run(os.path.exists, str(shared)).items() if not sees
            ]
            if blind:
                raise UserError(
                    f"{blind[0]} of the cluster sees no {shared}: all need a disk that they share."
                )
            # A task, not data that were sent out: what a dead worker had is made again.
            self._job = self._client.submit(pickle.loads, pickle.dumps(job), pure=False)
        except BaseException:
            self._client.close()
            raise

    @property
    def ahead(self) -> int:
        """By the workers that are there now."""
        threads: dict[str, int] = self._client.nthreads()
        return _AHEAD * max(1, sum(threads.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(self, work: str, *arguments: Any) -> "Future[Any]":
        """Begin a piece of work, by the name of the job's method."""
        # Pickled, or Dask would look for tasks and keys in it.
        asked: Future[Any] = self._client.submit(
            _work_of, self._job, pickle.dumps((work, arguments)), pure=False
        )
        return asked

    def result(self, future: "Future[Any]") -> Any:
        """What came of it.

        Raises:
            UserError: workers died of it again and again, or the cluster is gone.
        """
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        try:
            return future.result()
        except (KilledWorker, CancelledError, OSError) as error:
            raise UserError(
                f"the cluster gave up ({type(error).__name__}). What has been read is kept: the same command "
                "goes on."
            ) from error


def _work_of(job: Any, pickled: bytes) -> Any:
    work, arguments = pickle.loads(pickled)
    return getattr(job, work)(*arguments)


Workers = Processes | Cluster
