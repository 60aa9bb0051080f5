# SPDX-License-Identifier: Apache-2.0
"""`python -I -S supervise.py PARENT COMMAND...`: runs a command for as long as the process PARENT lives.

It leads a process group (`bitloom.hw.process` starts it so) to which belongs all that the command starts, however deep: make's compilers, a
script's tools. When PARENT is gone, even by SIGKILL, the group is killed. SIGTERM and SIGINT are for the others in the group: it waits for the
command and ends as the command did, with its exit code or by its signal.
"""

import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress

LOOK_SECONDS = 0.1
ABSENT = 127  # exit code where the command cannot be started, as a shell's


def main(parent: int, command: list[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the command would inherit
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    try:  # Python itself ignores these two
        child = os.posix_spawnp(command[0], command, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(ABSENT)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the core that tells something is the command's
        with suppress(OSError):  # SIGKILL needs no default
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
