# SPDX-License-Identifier: Apache-2.0
"""bitloom: from text to verified RTL. The names below are the library's front door; README.md shows them in use."""

from bitloom.version import __version__

_HOME = {"Recipe": "recipe", "RunFolder": "runfolder", "run_flow": "flow", "run_stage": "flow", "predict": "inference"}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    """Import a part when it is first asked for, so that `bitloom --version` does not load all of them."""
    if name not in _HOME:
        raise AttributeError(f"module 'bitloom' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"bitloom.{_HOME[name]}"), name)
