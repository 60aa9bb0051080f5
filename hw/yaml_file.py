# SPDX-License-Identifier: Apache-2.0
"""YAML that others wrote: a small tree of plain values, each with its line; anything else is refused at once."""

from __future__ import annotations

import stat
import unicodedata
from pathlib import Path
from typing import Any

import yaml

from bitloom.hw.errors import BitloomError

LONGEST = 128 << 10  # bytes of a file
DEEPEST = 16  # levels
MOST = 20_000  # values, those of an alias counted wherever it stands
LONGEST_NUMBER = 15  # characters of an integer: no setting needs more


class YamlError(BitloomError):
    """A file that cannot be read, or text that is no such tree."""


def read(path: Path, kind: str) -> str:
    """A file's text.

    kind  what it should be, for messages
    Raises YamlError: no such file, not a regular one, too long, not UTF-8.
    """

    def refused(got: str) -> YamlError:
        return YamlError(f"{path}: got {got}, must be a readable {kind}; check the path")

    raw = b""
    try:
        mode = path.stat().st_mode
        if regular := stat.S_ISREG(mode):  # to open a FIFO is to wait for its writer
            with path.open("rb") as file:
                raw = file.read(LONGEST + 1)
    except OSError as error:
        raise refused((error.strerror or str(error)).lower()) from error
    except ValueError as error:
        raise refused("a path with a NUL") from error
    if not regular:
        raise refused("a folder" if stat.S_ISDIR(mode) else "no regular file")
    if len(raw) > LONGEST:
        raise refused(f"more than {LONGEST >> 10} KiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refused("not UTF-8 text") from error


def parse(text: str, where: str, must: str = "a mapping; mend it", *, numbered: bool = True) -> tuple[Any, dict[tuple, str]]:
    """The values, and place -> `where:line` of each key and list item; () is `where`.

    must      the rule for a text that is not YAML
    numbered  False: `where` alone, for a text of one line
    Raises YamlError: not YAML, a key twice, keys that are no texts, control characters, a tree too deep or large.
    """
    tree = _Tree(where, numbered)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            tree.walk(node, ())
        return (None if node is None else loader.construct_document(node)), tree.lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise YamlError(f"{tree.at(mark)}: got text that is not YAML ({problem[:120]}), must be {must}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's own, but for what it fails on with other errors than its own."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} levels", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # int('zz'), datetime.date(2020, 99, 99), ..
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"{str(node.value)[:40]!r} is written as {kind} and is none", node.start_mark) from error


class _Tree:
    """Walks a tree as it is with its aliases written out, before any value is made."""

    def __init__(self, where: str, numbered: bool):
        self._where, self._numbered = where, numbered
        self.lines: dict[tuple, str] = {(): where}
        self._count, self._open = 0, set()

    def at(self, mark: yaml.Mark | None) -> str:
        return f"{self._where}:{mark.line + 1}" if mark and self._numbered else self._where

    def walk(self, node: yaml.Node, loc: tuple) -> None:
        self._count += 1
        line = self.at(node.start_mark)
        if id(node) in self._open:
            raise YamlError(f"{line}: got an alias inside its own anchor, must be a tree; write it out")
        if self._count > MOST or len(loc) >= DEEPEST:
            got = f"more than {MOST:,} values" if self._count > MOST else f"more than {DEEPEST} levels"
            raise YamlError(f"{line}: got {got} with its aliases written out, must be a small tree; write it plainly")
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._keys(node, loc)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.lines.setdefault((*loc, index), self.at(value.start_mark))
                self.walk(value, (*loc, index))
        else:
            self._scalar(node, line)
        self._open.discard(id(node))

    def _keys(self, node: yaml.MappingNode, loc: tuple) -> None:
        for key, value in node.value:
            line = self.at(key.start_mark)
            if not isinstance(key, yaml.ScalarNode) or key.tag.rpartition(":")[2] not in ("str", "merge"):
                got = f"'{key.value[:40]}'" if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise YamlError(f"{line}: got the key {got}, must be a text; quote it")
            self._scalar(key, line)
            here = (*loc, key.value)
            if here in self.lines:
                raise YamlError(f"{line}: got '{key.value}' twice (first at {self.lines[here]}), must be given once; remove one")
            self.lines[here] = line
            self.walk(value, here)

    @staticmethod
    def _scalar(node: yaml.ScalarNode, line: str) -> None:
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > LONGEST_NUMBER:
            raise YamlError(f"{line}: got a number of {len(node.value)} characters, must be of at most {LONGEST_NUMBER}; change it")
        if bad := next((c for c in node.value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None):
            raise YamlError(f"{line}: got a text with the character {ascii(bad)[1:-1]}, must be without control characters; remove it")
