# SPDX-License-Identifier: Apache-2.0
"""Rows of data files: .tsv (header, one tab between fields, no quoting, no escapes) and .jsonl, plain or gzipped; read as a stream, within limits."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bitloom.hw.errors import BitloomError

# Limits of one file, far above those of public data sets: a file that breaks them is another thing than it says it is.
MAX_LINE = 1 << 20  # bytes
MAX_BYTES = 1 << 30  # unpacked
MAX_ROWS = 4_000_000
MAX_COLUMNS = 1000
MAX_DEPTH = 20  # levels of brackets in a row of a .jsonl file
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
    """All rows of a file, read as a stream. DataError (with the line): an empty file, a malformed row, broken gzip or UTF-8, more than the limits."""
    parse = _json_rows if ".jsonl" in path.name else _tab_rows
    rows: list[Row] = []
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for row in parse(path, _lines(path, file)):
                rows.append(row)
                if len(rows) > MAX_ROWS:
                    raise DataError(f"{row.where}: got more than {MAX_ROWS:,} rows, must be at most that many; leave some out")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: got a broken gzip file ({error}), must be whole; copy the file again") from None
    except OSError as error:
        raise DataError(f"{path}: got '{error.strerror}', must be readable; check the file and its permissions") from None
    if not rows:
        raise DataError(f"{path}: got an empty file, must hold at least one example; check where the file came from")
    return rows


def _lines(path: Path, file: Any) -> Iterator[tuple[str, str]]:
    """Each line as ("FILE:LINE", text). Bytes break at \\n only: other line separators may stand inside a field."""
    number = total = 0
    while line := file.readline(MAX_LINE + 2):
        number, total = number + 1, total + len(line)
        where = f"{path}:{number}"
        if len(line.rstrip(b"\r\n")) > MAX_LINE:
            raise DataError(f"{where}: got a line of more than {MAX_LINE:,} bytes, must be at most that long; split the row or cut its text")
        if total > MAX_BYTES:
            raise DataError(f"{where}: got more than {MAX_BYTES:,} bytes (unpacked), must be at most that many; split the file or leave rows out")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")  # some editors begin a file with a byte order mark
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: got byte {error.object[error.start]:#04x}, must be UTF-8; convert the file") from None
        yield where, text


def _tab_rows(path: Path, lines: Iterator[tuple[str, str]]) -> Iterator[Row]:
    where, first = next(lines, (f"{path}:1", None))
    if first is None:
        return
    header = first.split("\t")
    _check_count(where, len(header))
    if len(header) < 2:
        raise DataError(f"{where}: got '{first[:60]}', must be the names of two columns or more with one tab between; write them")
    name, count = Counter(header).most_common(1)[0]
    if count > 1:
        raise DataError(f"{where}: got column '{name}' {count} times, must be once; rename the others")
    for where, line in lines:
        fields = line.split("\t")
        if len(fields) != len(header):
            shown = ", ".join(header)[:200]
            raise DataError(f"{where}: got {len(fields)} fields, must be {len(header)} ({shown}) with one tab between; correct the row")
        yield Row(where, dict(zip(header, fields, strict=True)))


def _json_rows(path: Path, lines: Iterator[tuple[str, str]]) -> Iterator[Row]:
    for where, line in lines:
        try:
            fields = json.loads(line, object_pairs_hook=_once)
            if "\\u" in line:  # an escape may be half of a character
                json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start : error.end].encode("unicode_escape").decode()
            raise DataError(f"{where}: got {half}, half of a character, must be whole (UTF-16 pairs go together); correct the row") from None
        except RecursionError:
            raise DataError(f"{where}: got brackets in more than {MAX_DEPTH} levels, must be at most that many; correct the row") from None
        except ValueError as error:  # of JSON; of a number with too many digits
            reason = getattr(error, "msg", None) or str(error).partition(";")[0]
            raise DataError(f"{where}: got no JSON ({reason}), must be one JSON object a line; correct the row") from None
        if not isinstance(fields, dict):
            raise DataError(f"{where}: got {type(fields).__name__}, must be one JSON object a line; correct the row")
        if line.count("[") + line.count("{") > MAX_DEPTH and _deeper(fields, MAX_DEPTH):
            raise DataError(f"{where}: got brackets in more than {MAX_DEPTH} levels, must be at most that many; correct the row")
        _check_count(where, len(fields))
        yield Row(where, fields)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        name = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"'{name[:60]}' twice in one object")
    return fields


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in each other in more than that many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) and (levels == 0 or any(_deeper(each, levels - 1) for each in inner))


def _check_count(where: str, columns: int) -> None:
    if columns > MAX_COLUMNS:
        raise DataError(f"{where}: got {columns:,} columns, must be at most {MAX_COLUMNS}; leave some out")
