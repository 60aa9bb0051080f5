# SPDX-License-Identifier: Apache-2.0
"""Accepted answers of a span task: texts of the context and where they start in it, in characters."""

from __future__ import annotations

from typing import Any, NamedTuple

from bitloom.qat.files import DataError, Row

UNITS = {"bytes of UTF-8": ("utf-8", 1), "units of UTF-16": ("utf-16-le", 2)}  # that other tools count in: encoding, bytes of one


class Answer(NamedTuple):
    """Accepted answers of one question: their texts and where each starts in the context, in characters."""

    texts: list[str]
    starts: list[int]


def parse(row: Row, value: Any) -> Answer:
    """Of {text: [...], answer_start: [...]}. Raises DataError: another shape."""
    try:
        answer = Answer(list(value["text"]), list(value["answer_start"]))
        if len(answer.texts) != len(answer.starts) or {*map(type, answer.texts)} != {str} or {*map(type, answer.starts)} != {int}:
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise DataError(
            f"{row.where}: got answers {str(value)[:60]!r}, must be {{text: [...], answer_start: [...]}} with one entry or more; correct the row"
        ) from None
    return answer


def check_place(row: Row, context: str, answer: Answer) -> None:
    """Raise DataError where an answer does not stand at its start, with what the start seems to count."""
    for text, start in zip(*answer, strict=True):
        if start < 0 or context[start : start + len(text)] != text:
            there = context[max(start, 0) : max(start, 0) + len(text)]
            raise DataError(
                f"{row.where}: got answer {text[:40]!r} at {start}, where the text has {there[:40]!r}, must stand there; {_counted(context, text, start)}"
            )


def _counted(context: str, text: str, start: int) -> str:
    for name, (encoding, size) in UNITS.items():
        whole, part = context.encode(encoding), text.encode(encoding)
        if start >= 0 and whole[start * size : start * size + len(part)] == part:
            place = len(whole[: start * size].decode(encoding, "replace"))
            return f"{start} counts {name}, in characters it is {place}: convert answer_start"
    if context.count(text) == 1:
        return f"it stands at {context.index(text)}: correct answer_start"
    return "correct answer_start"
