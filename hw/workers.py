# SPDX-License-Identifier: Apache-2.0
"""Workers that call one function again and again, in processes of this machine or on a Ray cluster. A call whose worker is lost is made again.

Both hold `shared` once a worker, so that a call's arguments stay small. The processes are Python's own, and end with the one that began them. Trials of a
search and simulations of a verification are such calls.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from bitloom.hw.errors import BitloomError

AGAIN = 3  # times that a call is made anew whose worker was lost
RAY = "pip install -c constraints.txt 'bitloom[ray]'"


class WorkerError(BitloomError):
    """Workers that cannot be had, or that died too often."""


class CallError(WorkerError):
    """A call that raised."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who is to work, as a section of a recipe says. section: its name; call: what a call is, in errors.

    count    calls at once
    cluster  as ray.init takes the address of a Ray cluster, or "local"; None: processes of this machine
    """

    section: str
    call: str
    count: int = 1
    cluster: str | None = None

    def died(self, times: int) -> str:
        return f"{self.section}: got a worker that died {times} times at one {self.call}, must live; give it memory, or lower {self.section}.workers"

    def failed(self, reason: str) -> str:
        return f"{self.section}: got a {self.call} that failed ({reason}), must end; see its settings"


def _serve(ends: Connection, function: Callable, shared: Any, threads: int) -> None:
    """A worker's whole life: calls until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's: it ends this one
    if (torch := sys.modules.get("torch")) is not None:  # what the function needs is loaded by now
        torch.set_num_threads(threads)
    while True:
        try:
            arguments = ends.recv()
        except EOFError:
            return
        try:
            answer = True, function(shared, *arguments)
        except Exception as error:  # told there, by what began the call
            answer = False, f"{type(error).__name__}: {error}"
        try:
            ends.send(answer)
        except BrokenPipeError:
            return


class Processes:
    """So many workers on this machine: `submit` calls, then `next` for what is done first.

    lost  calls that were made again so far
    """

    def __init__(self, crew: Crew, function: Callable, shared: Any):
        self.crew, self.function, self.shared, self.lost = crew, function, shared, 0
        self._context = multiprocessing.get_context("spawn")
        self._free: list[tuple] = []
        self._busy: dict[Connection, tuple] = {}  # end -> (process, key, arguments, times made)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _ in [*self._free, *((p, end) for end, (p, *_) in self._busy.items())]:
            process.terminate()
            process.join()

    @property
    def room(self) -> int:
        """Calls that may be submitted now."""
        return self.crew.count - len(self._busy)

    def submit(self, key: Any, *arguments: Any, made: int = 0) -> None:
        process, end = self._free.pop() if self._free else self._start()
        end.send(arguments)
        self._busy[end] = (process, key, arguments, made)

    def next(self) -> tuple[Any, Any]:
        """(key, result) of a call that is done, waited for.

        Raises CallError: the function raised; WorkerError: its workers were lost AGAIN times.
        """
        while True:
            end = wait(list(self._busy))[0]
            process, key, arguments, made = self._busy.pop(end)
            try:
                fine, result = end.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                self.lost += 1
                if made >= AGAIN:
                    raise WorkerError(self.crew.died(made + 1)) from None
                self.submit(key, *arguments, made=made + 1)
                continue
            self._free.append((process, end))
            if not fine:
                raise CallError(self.crew.failed(result))
            return key, result

    def pids(self) -> list[int]:
        """Of the workers that are at a call."""
        return [process.pid for process, *_ in self._busy.values()]

    def _start(self) -> tuple:
        mine, its = self._context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self.crew.count)
        process = self._context.Process(target=_serve, args=(its, self.function, self.shared, threads), daemon=True)
        process.start()
        its.close()
        return process, mine


class Cluster:
    """The same on a Ray cluster, whose workers are where its nodes are."""

    def __init__(self, crew: Crew, function: Callable, shared: Any):
        count, address, where = crew.count, crew.cluster, f"{crew.section}.cluster: got '{crew.cluster}'"
        try:
            import ray
        except ImportError as error:
            raise WorkerError(f"{where} without Ray ({error}), must be installed; {RAY}") from error
        self.crew, self._ray, self._mine = crew, ray, not ray.is_initialized()
        if self._mine:
            try:
                ray.init(address=None if address == "local" else address, num_cpus=count if address == "local" else None,
                         include_dashboard=False, log_to_driver=False, configure_logging=False)  # fmt: skip
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise WorkerError(f"{where}, must be the address of a Ray cluster ({reason}); start one, or leave it out") from error
        self._call = ray.remote(num_cpus=1, max_retries=AGAIN)(function)
        self._shared, self._busy = ray.put(shared), {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for reference in self._busy:
            self._ray.cancel(reference, force=True)
        if self._mine:
            self._ray.shutdown()

    @property
    def room(self) -> int:
        return self.crew.count - len(self._busy)

    def submit(self, key: Any, *arguments: Any) -> None:
        self._busy[self._call.remote(self._shared, *arguments)] = key

    def next(self) -> tuple[Any, Any]:
        """As of Processes; Ray itself makes a call again whose worker or node is lost."""
        done, _ = self._ray.wait(list(self._busy), num_returns=1)
        key = self._busy.pop(done[0])
        try:
            return key, self._ray.get(done[0])
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError, self._ray.exceptions.ObjectLostError) as error:
            raise WorkerError(self.crew.died(AGAIN + 1)) from error
        except self._ray.exceptions.RayTaskError as error:
            raise CallError(self.crew.failed(str(error.cause)[:200])) from error


def workers(crew: Crew, function: Callable, shared: Any) -> Processes | Cluster:
    """function(shared, *arguments) for every call."""
    return (Cluster if crew.cluster else Processes)(crew, function, shared)
