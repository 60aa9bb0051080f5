# SPDX-License-Identifier: Apache-2.0
"""A Tcl interpreter for scripts that are written for a vendor's tool."""

import importlib.util
import shutil
import sys

import pytest

# In an interpreter of its own: tkinter takes `exit` away from the first one.
CODE = (
    "import sys, tkinter; t = tkinter.Tcl(); t.eval('interp create c'); t.call('c', 'eval', ('set', 'argv', t.call('list', *sys.argv[2:]))); "
    "t.call('c', 'eval', ('source', sys.argv[1]))"
)


def interpreter() -> list[str]:
    """A command line that runs a Tcl file with arguments; skips the test where there is none."""
    if importlib.util.find_spec("_tkinter"):
        return [sys.executable, "-c", CODE]
    if shutil.which("tclsh"):
        return ["tclsh"]
    pytest.skip("no Tcl interpreter: neither tkinter nor tclsh; apt install tcl")
