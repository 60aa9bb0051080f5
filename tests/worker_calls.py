# SPDX-License-Identifier: Apache-2.0
"""Calls for workers, in a file that is loaded quickly."""

import os
import signal
import time
from pathlib import Path


def die_once(shared: str, value: int) -> int:
    """Twice the value; the first call of all kills its worker. shared: a file that says that one has died."""
    if not os.path.exists(shared):
        Path(shared).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * value


def die(shared: object, value: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(shared: object, value: int) -> None:
    raise ValueError(f"no {value}")


def wait_on(folder: str, value: int) -> int:
    """Marks that it began, and waits for leave."""
    with open(os.path.join(folder, "began"), "a") as file:
        file.write("x")
    while not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.1)
    return 2 * value
