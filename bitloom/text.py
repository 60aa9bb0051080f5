# SPDX-License-Identifier: Apache-2.0
"""Texts that others wrote, as they may be shown: without what a terminal obeys, in what the terminal can take, and not longer than a message."""

from __future__ import annotations

import codecs
import sys
import unicodedata

LONGEST = 80  # characters of a value in a message
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # controls, invisible and direction marks, surrogates, private use, line ends
JOINERS = "\u200c\u200d"  # invisible, but part of how some scripts and emoji are written


# Marks of our own and of the libraries that write tables and bars, where a stream's encoding lacks them.
PLAIN = {"✓": "ok", "━": "-", "╸": "-", "╺": "-", "…": "...", "×": "x", "·": "-", "µ": "u", "–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"'}


def plain_where_needed() -> None:
    """What stdout and stderr cannot encode (a terminal of ASCII or Latin-1, lone surrogates) is written in plain marks, or escaped."""
    codecs.register_error("bitloom.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="bitloom.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c) or _escaped(c) for c in error.object[error.start : error.end]), error.end


def printable(text: str, keep: str = "") -> str:
    """The text with each character that a terminal or a reader's eye would not show as it is written as \\x1b or \\u202e.

    keep  such characters that stay, e.g. line ends
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in HIDDEN and c not in JOINERS + keep else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(value: object) -> str:
    """A value for a message: its repr, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError) as error:  # an integer of more digits than Python writes; deep nesting
        return f"a {type(value).__name__} that is too {'deep' if isinstance(error, RecursionError) else 'long'} to show"
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"
