# SPDX-License-Identifier: Apache-2.0
"""The shell's own errors. All of them end in one line on stderr; the exit code says which kind it was."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from bitloom.hw.errors import BitloomError

OK, FAILED, USAGE = 0, 1, 2  # exit codes: 1 is kept for verification failures


class VerificationError(BitloomError):
    """Two readers of the integer graph disagree, or nothing was compared. Exit code 1."""


class RunError(BitloomError):
    """A run folder that is missing, in use, stale or of another version."""


class UsageError(BitloomError):
    """Options that do not belong together."""


class DiskFullError(BitloomError):
    """No space left while a stage was writing."""


def is_disk_full(error: BaseException | None, folder: Path) -> bool:
    """Whether `error`, or what caused it, is a full disk.

    Libraries wrap the OSError in types of their own (safetensors keeps only its text), so the text and, last, the
    space that is left on the file system of `folder` are looked at too.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return shutil.disk_usage(folder).free < 1 << 20
