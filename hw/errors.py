# SPDX-License-Identifier: Apache-2.0
"""The root of every error that the project raises on purpose."""


class BitloomError(Exception):
    """A mistake that the user can fix: one line, `where: got VALUE, must be RULE; what to do`.

    The command line prints it without a traceback and exits with code 2.
    """
