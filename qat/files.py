# SPDX-License-Identifier: Apache-2.0
"""Rows of data files: .tsv (header, one tab between fields, no quoting, no escapes) and .jsonl, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bitloom.hw.errors import BitloomError

ENDINGS = (".tsv.gz", ".tsv", ".jsonl.gz", ".jsonl")


class DataError(BitloomError):
    """A data set that cannot be used as it is: where, what was found, what it must be, what to do."""


class DataWarning(UserWarning):
    """A data set that can be used, but may not be what was meant."""


class Row(NamedTuple):
    """One example as read: where it stands ("FILE:LINE") and its fields by column name."""

    where: str
    fields: dict[str, Any]


def find_split(folder: Path, name: str, split: str) -> Path:
    """FOLDER/NAME/SPLIT.* or FOLDER/SPLIT.*, the first that exists; DataError names the splits that do."""
    if not folder.is_dir():
        raise DataError(f"data: got folder '{folder}', must be an existing folder; correct --data")
    for place in (folder / name, folder):
        for ending in ENDINGS:
            if (path := place / (split + ending)).is_file():
                return path
    place = folder / name if (folder / name).is_dir() else folder
    found = sorted(p.name for p in place.iterdir() if p.name.endswith(ENDINGS))
    raise DataError(
        f"{place}: got no split '{split}', must hold {split}.tsv.gz or {split}.jsonl.gz (or unpacked); "
        f"found {', '.join(found) or 'no data file'}: add the file, or name another one with data.train or data.dev"
    )


def read_rows(path: Path) -> list[Row]:
    """All rows of a file; DataError (with the line) for an empty file, a malformed row, broken gzip or UTF-8."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            lines = list(_decoded(path, file))
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: got a broken gzip file ({error}), must be whole; copy the file again") from None
    except OSError as error:
        raise DataError(f"{path}: got '{error.strerror}', must be readable; check the file and its permissions") from None
    rows = _json_rows(path, lines) if ".jsonl" in path.name else _tab_rows(path, lines)
    if not rows:
        raise DataError(f"{path}: got an empty file, must hold at least one example; check where the file came from")
    return rows


def _decoded(path: Path, file: Any) -> Iterator[str]:
    for number, line in enumerate(file, 1):  # bytes break at \n only: other line separators may stand inside a field
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")  # some editors begin a file with a byte order mark
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: got byte {error.object[error.start]:#04x}, must be UTF-8; convert the file") from None


def _tab_rows(path: Path, lines: list[str]) -> list[Row]:
    header = lines[0].split("\t") if lines else []
    if twice := [name for name in header if header.count(name) > 1]:
        raise DataError(f"{path}:1: got column '{twice[0]}' {header.count(twice[0])} times, must be once; rename the others")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise DataError(f"{path}:{number}: got {len(fields)} fields, must be {len(header)} ({', '.join(header)}) with one tab between; correct the row")
        rows.append(Row(f"{path}:{number}", dict(zip(header, fields, strict=True))))
    return rows


def _json_rows(path: Path, lines: list[str]) -> list[Row]:
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            if "\\u" in line:  # an escape may be half of a character
                json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start : error.end].encode("unicode_escape").decode()
            raise DataError(f"{path}:{number}: got {half}, half of a character, must be whole (UTF-16 pairs go together); correct the row") from None
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: got no JSON ({error.msg}), must be one JSON object a line; correct the row") from None
        if not isinstance(fields, dict):
            raise DataError(f"{path}:{number}: got {type(fields).__name__}, must be one JSON object a line; correct the row")
        rows.append(Row(f"{path}:{number}", fields))
    return rows
