# SPDX-License-Identifier: Apache-2.0
"""Draws one-line changes of the RTL: where one can be made, and which are made for a seed.

A file is cut into tokens and statements, not parsed. Left alone: comments, ports, parameters' defaults (every instance sets them), ranges of declarations
(the widths are localparams, which are changed), widths of casts, and statements that lead to `$fatal`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

FOLDERS = ("hw/rtl", "hw/rtl/board", "hw/synth/rtl", "hw/synth/rtl/ice40up", "hw/vivado/rtl")
KINDS = ("operator", "comparison", "constant", "condition", "assignment", "reset")
OPERATORS = {"+": ("-",), "-": ("+",), "&": ("|",), "|": ("&",), "^": ("&", "|"), "&&": ("||",), "||": ("&&",)}
OPERATORS |= {"<<": (">>",), ">>": ("<<",), "<<<": (">>>",), ">>>": (">>", "<<<")}
COMPARISONS = {"<": ("<=",), "<=": ("<",), ">": (">=",), ">=": (">",), "==": ("!=",), "!=": ("==",)}
DECLARATIONS = {"logic", "wire", "localparam", "typedef", "function", "genvar", "int", "integer", "bit", "input", "output", "parameter"}
ENDS = {"begin", "end", "else", "endmodule", "endcase", "endfunction", "endpackage"}  # of a statement, besides `;`
TOKEN = re.compile(
    r"""(?P<skip> //[^\n]* | /\*.*?\*/ | \(\*\s*\w.*?\*\) | "[^"\n]*" | \s+ )
      | (?P<number> \d*'[sS]?[bdhBDH][0-9a-fA-F_]+ | '[01](?!\w) | \d[\d_]* )
      | (?P<word> [A-Za-z_$][\w$]* )
      | (?P<sign> <<< | >>> | << | >> | <= | >= | == | != | && | \|\| | \+\+ | -- | \+: | -: | :: | . )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A line of a file and what becomes of it.

    file  path in the repository
    line  from 1 on
    nth   of the lines of the file that read so, from 1 on
    """

    file: str
    line: int
    nth: int
    kind: str
    before: str
    after: str

    @property
    def change(self) -> tuple[str, int, str, str]:
        """What it is, wherever the line stands."""
        return self.file, self.nth, self.before.strip(), self.after.strip()


@dataclass(frozen=True)
class Token:
    """text: as written; start, end: places in the file; kind: number, word or sign; depth: open brackets before it."""

    text: str
    start: int
    end: int
    kind: str
    depth: int


@dataclass
class Statement:
    """Tokens up to `;`, `begin`, `end` or `else`. live: may be changed."""

    tokens: list[Token]
    live: bool = True
    reset: bool = False
    assign: int | None = None  # which token is its `=` or `<=`
    declares: bool = False

    def says(self, *texts: str) -> bool:
        return any(t.text in texts for t in self.tokens)


@dataclass(frozen=True)
class Site:
    """A place that can be changed: text[start:end] becomes one of the choices."""

    kind: str
    start: int
    end: int
    choices: tuple[str, ...] = field(compare=False)


def tokens(text: str) -> list[Token]:
    found, depth = [], 0
    for match in TOKEN.finditer(text):
        if match.lastgroup == "skip":
            continue
        piece = match[0]
        depth -= piece in ")]}"
        found.append(Token(piece, match.start(), match.end(), match.lastgroup, depth))
        depth += piece in "([{"
    return found


def statements(text: str) -> list[Statement]:
    """All of a file's; those that must not be changed are marked."""
    found, current, after_begin = [], [], False
    for token in tokens(text):
        if after_begin and (token.text == ":" or (current and current[-1].text == ":" and len(current) == 1)):
            current = [token] if token.text == ":" else []  # `begin : name`
            after_begin = token.text == ":"
            continue
        after_begin = False
        current.append(token)
        if token.depth == 0 and (token.text == ";" or token.text in ENDS):
            found.append(Statement(current))
            current, after_begin = [], token.text == "begin"
    for statement in found:
        _assignment(statement)
    _spare(found)
    _resets(found)
    return found


def _assignment(statement: Statement) -> None:
    """Which of its `=` and `<=` assigns: the first outside of brackets."""
    statement.declares = statement.tokens[0].text in DECLARATIONS
    for index, token in enumerate(statement.tokens):
        if token.depth == 0 and token.text in ("=", "<="):
            statement.assign = index
            return


def _spare(found: list[Statement]) -> None:
    """The module's header, and checks that end in `$fatal` with what leads to them."""
    for index, statement in enumerate(found):
        if statement.tokens[0].text == "module":
            statement.live = False
        if statement.says("$fatal"):
            statement.live = False
            while index and found[index - 1].tokens[-1].text == "begin" and found[index - 1].says("initial", "if"):
                index -= 1
                found[index].live = False


def _resets(found: list[Statement]) -> None:
    """Marks what stands under `if (rst ...)`."""
    until = 0  # depth of begin at which the branch began
    depth = 0
    for statement in found:
        condition = _condition(statement)
        if condition and not until:
            inside = {t.text for t in statement.tokens[condition[0] + 1 : condition[1]]}
            if "rst" in inside and "!" not in inside:
                statement.reset = statement.tokens[-1].text == ";"
                until = depth + 1 if statement.tokens[-1].text == "begin" else 0
        elif until:
            statement.reset = True
        depth += (statement.tokens[-1].text == "begin") - statement.says("end")
        if until and depth < until:
            until, statement.reset = 0, False


def _condition(statement: Statement) -> tuple[int, int] | None:
    """The brackets of its `if`, as places in its tokens."""
    for index, token in enumerate(statement.tokens[:-1]):
        if token.text == "if":
            return index + 1, _closing(statement.tokens, index + 1)
    return None


def _closing(row: list[Token], at: int) -> int:
    return next(i for i in range(at + 1, len(row)) if row[i].depth == row[at].depth and row[i].text in ")]}")


def _opening(row: list[Token], at: int) -> int:
    return next(i for i in range(at - 1, -1, -1) if row[i].depth == row[at].depth and row[i].text in "([{")


def sites(text: str) -> list[Site]:
    """Every place of a file that can be changed within one line."""
    found = []
    for statement in statements(text):
        if statement.live:
            found += [*_tokens_of(statement), *_conditions(statement, text), *_dropped(statement, text)]
        elif statement.tokens[0].text == "module":
            found += _header(statement)
    return [site for site in found if "\n" not in text[site.start : site.end]]


def _header(module: Statement) -> Iterator[Site]:
    """Of a module's header only its localparams."""
    local, item = False, []
    for token in module.tokens:
        if token.text in ("localparam", "parameter"):
            local, item = token.text == "localparam", []
        if token.depth == 0 and item:
            local = False
        if local:
            item.append(token)
            if any(t.text == "=" for t in item[:-1]):
                yield from _site(token, None)


def _tokens_of(statement: Statement) -> Iterator[Site]:
    """Operators, comparisons and constants. Of a declaration only what it is set to."""
    begin = 0 if not statement.declares else len(statement.tokens) if statement.assign is None else statement.assign + 1
    row = statement.tokens
    for index in range(begin, len(row)):
        if index != statement.assign:
            yield from _site(row[index], row[index + 1].text if index + 1 < len(row) else None)


def _site(token: Token, behind: str | None) -> Iterator[Site]:
    """behind: the next token; a number before `'` is the width of a cast."""
    if token.text in OPERATORS:
        yield Site("operator", token.start, token.end, OPERATORS[token.text])
    elif token.text in COMPARISONS:
        yield Site("comparison", token.start, token.end, COMPARISONS[token.text])
    elif token.kind == "number" and behind != "'":
        yield Site("constant", token.start, token.end, constants(token.text))


def constants(number: str) -> tuple[str, ...]:
    """One more, one less; of hexadecimal and binary ones the lowest or the highest bit inverted."""
    width, mark, digits = number.partition("'")
    if not mark:
        return tuple(str(n) for n in (int(number) + 1, int(number) - 1) if n >= 0)
    if number in ("'0", "'1"):
        return ("'1",) if number == "'0" else ("'0",)
    base, value = digits[0].lower(), int(digits[1:], {"b": 2, "d": 10, "h": 16}[digits[0].lower()])
    top = 1 << int(width)
    if base == "d":
        return tuple(f"{width}'d{n}" for n in dict.fromkeys(((value + 1) % top, max(value - 1, 0))) if n != value)
    style = f"0{len(digits) - 1}{'b' if base == 'b' else 'x'}"
    return tuple(f"{width}'{digits[0]}{n:{style}}" for n in dict.fromkeys((value ^ 1, value ^ top >> 1)))


def _conditions(statement: Statement, text: str) -> Iterator[Site]:
    """The condition of an `if`, and those of `? :`."""
    row, condition = statement.tokens, _condition(statement)
    if condition:
        begin, end = row[condition[0]].end, row[condition[1]].start
        yield Site("condition", begin, end, (f"!({text[begin:end]})",))
    for index, token in enumerate(row):
        if token.text != "?":
            continue
        at = index
        while at > 0 and not (row[at - 1].depth < token.depth or (row[at - 1].depth == token.depth and row[at - 1].text in ("=", ",", "?", ":", ";"))):
            if at - 1 == statement.assign:
                break
            at -= 1
        if at < index:
            begin, end = row[at].start, row[index - 1].end
            yield Site("condition", begin, end, (f"!({text[begin:end]})",))


def _dropped(statement: Statement, text: str) -> Iterator[Site]:
    """The assignment, if it is no declaration; of several registers that a reset clears together each for itself."""
    row, at = statement.tokens, statement.assign
    if at is None or statement.declares or row[-1].text != ";":
        return
    first = at - 1
    while row[first].text in ("]", "}"):
        first = _opening(row, first) - (row[first].text == "]")
    kind = "reset" if statement.reset else "assignment"
    inside = row[first + 1 : at - 1]
    if statement.reset and row[first].text == "{" and all(t.kind == "word" or t.text == "," for t in inside):
        for token in inside:
            if token.kind == "word":
                yield Site(kind, row[first].start, row[at - 1].end, ("{" + ", ".join(t.text for t in inside if t.kind == "word" and t is not token) + "}",))
        return
    first -= first > 0 and row[first - 1].text == "assign"
    yield Site(kind, row[first].start, row[-1].start, ("",))


def mutants(file: str, text: str, seed: int) -> Iterator[tuple[str, Mutant]]:
    """(rank, mutant) of every place of a file, one of its choices each. The rank does not change with what stands elsewhere in the files."""
    seen: dict[str, int] = {}
    lines = [line.strip() for line in text.splitlines()]
    for site in sites(text):
        begin, end = text.rfind("\n", 0, site.start) + 1, text.find("\n", site.end)
        before = text[begin:end]
        place = f"{seed}|{file}|{site.kind}|{before}|{site.start - begin}"
        seen[place] = seen.get(place, 0) + 1
        rank = hashlib.sha256(f"{place}|{seen[place]}".encode()).hexdigest()
        new = site.choices[int(rank[-8:], 16) % len(site.choices)]
        after = before[: site.start - begin] + new + before[site.end - begin :]
        above = text.count("\n", 0, begin)
        yield rank, Mutant(file=file, line=above + 1, nth=lines[: above + 1].count(before.strip()), kind=site.kind, before=before, after=after)


def rtl_files(root: Path) -> list[str]:
    """All RTL of the repository, as paths in it."""
    return [str(path.relative_to(root)) for folder in FOLDERS for path in sorted((root / folder).glob("*.sv"))]


def draw(root: Path, seed: int, files: list[str]) -> list[Mutant]:
    """Every mutant of the files, in the order of a seed: the kinds take turns."""
    ranked = sorted((pair for file in files for pair in mutants(file, (root / file).read_text(), seed)), key=lambda pair: pair[0])
    turns = zip_longest(*([m for _, m in ranked if m.kind == kind] for kind in KINDS))
    return [mutant for turn in turns for mutant in turn if mutant]
