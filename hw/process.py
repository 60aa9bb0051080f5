# SPDX-License-Identifier: Apache-2.0
"""Other programs: all of them are started here, end with this process however it ends, and leave no folders behind.

A program runs below `supervise.py`, in a session and process group of its own, so that Ctrl-C reaches this process alone, which then ends the
group; where this process is killed before it can, the supervisor does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

SUPERVISE = Path(__file__).with_name("supervise.py")
GRACE_SECONDS = 2.0  # from SIGTERM to SIGKILL
OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # a program does not die of these by itself
DEVNULL, PIPE, STDOUT, TimeoutExpired = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT, subprocess.TimeoutExpired

# What a program is told of the user's environment: where things lie, whose they are, which language. All else that steers a compiler or a
# simulator (CXXFLAGS, MAKEFLAGS, VERILATOR_*, COCOTB_*, GPI_*, PYTHON*, LD_PRELOAD ..) was meant for other work.
TOLD = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH"}
TOLD_PREFIXES = ("LC_", "XDG_", "NIX_", "OMP_", "YOWASP_")


def environment(**more: str) -> dict[str, str]:
    """The environment of a program that bitloom starts: TOLD and `more`."""
    told = {key: value for key, value in os.environ.items() if key in TOLD or key.startswith(TOLD_PREFIXES)}
    return told | more


def packages() -> dict[str, str]:
    """What another process of this interpreter needs in its environment to find the same packages."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def running(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **settings: Any) -> Iterator[subprocess.Popen]:
    """A program while the body runs; what is left of it and of all that it started is ended then.

    command   its first word: a name on PATH, or an absolute path
    env       None: `environment()`
    settings  of subprocess.Popen; stdin is /dev/null if not given
    returns   the process; its returncode is -N where the program died of signal N. End it early with `end`, not by signals of your own.
    Raises OSError: no such program.
    """
    words, env = [str(word) for word in command], environment() if env is None else dict(env)
    if shutil.which(words[0], path=env.get("PATH", os.defpath)) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), words[0])
    supervised = [sys.executable, "-I", "-S", str(SUPERVISE), str(os.getpid()), *words]
    with subprocess.Popen(supervised, env=env, start_new_session=True, **{"stdin": DEVNULL} | settings) as process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen) -> None:
    """End a program of `running` and all that it started: at once if it obeys SIGTERM, else after GRACE_SECONDS."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):  # none is left
            os.killpg(process.pid, number)
        with suppress(TimeoutExpired):
            process.wait(GRACE_SECONDS)


def run(command: Sequence[str | Path], *, timeout: float | None = None, **settings: Any) -> subprocess.CompletedProcess:
    """Run a program to its end; the rest as `running`.

    Raises TimeoutExpired: not done after `timeout` seconds.
    """
    with running(command, **settings) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def ask(command: Sequence[str | Path], timeout: float | None = None) -> str:
    """What a program prints, on both its outputs. Raises as `run`."""
    done = run(command, timeout=timeout, stdout=PIPE, stderr=PIPE, text=True, errors="replace")
    return done.stdout + done.stderr


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While the body runs, SIGTERM and SIGHUP unwind it as Ctrl-C does, and end in exit code 128 + N."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup's SIG_IGN stays
                before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


LOCK = ".bitloom-scratch"  # in such a folder: held while its process lives


@contextmanager
def scratch(kind: str, parent: Path | None = None, *, keep_on: type[Exception] | tuple[()] = ()) -> Iterator[Path]:
    """A folder of this process's own, removed behind the body unless it calls `keep`; those of processes that were killed are removed first.

    kind     what it is for, in its name
    parent   where; None: the system's place for temporary files
    keep_on  an error after which it is kept
    """
    parent = Path(parent or tempfile.gettempdir())
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"bitloom-{kind}-", dir=parent))
    with open(folder / f"{LOCK}.new", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(lock.name, folder / LOCK)  # never there unheld while this process lives
        try:
            yield folder
        except keep_on:
            keep(folder)
            raise
        finally:
            if (folder / LOCK).exists():
                shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path) -> None:
    """Leave a scratch folder for the user to look into."""
    (folder / LOCK).unlink(missing_ok=True)


@cache
def _sweep(parent: Path) -> None:
    for folder in parent.glob("bitloom-*"):
        with suppress(OSError), open(folder / LOCK, "r+") as lock:  # no such folder, another user's, or its process lives
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)  # which refuses a link
