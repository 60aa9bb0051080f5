# SPDX-License-Identifier: Apache-2.0
"""No file of the tree needs, however far round, a file that needs it: imports at the top and inside functions alike."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {"boards": "bitloom.boards", "hls": "bitloom.hls", "hw": "bitloom.hw", "qat": "bitloom.qat", "sim": "bitloom.sim", "bitloom": "bitloom"}


def modules() -> dict[str, Path]:
    """Dotted name -> file."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def needs(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file imports anywhere, but for those of `if TYPE_CHECKING`; `from package import module` is the module."""
    tree, found = ast.parse(path.read_text()), set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    hidden = {id(n) for test in ast.walk(tree) if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test) for n in ast.walk(test)}
    for node in (n for n in ast.walk(tree) if id(n) not in hidden):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [node.module])]) if node.level else node.module
            parts = {f"{base}.{alias.name}" for alias in node.names}
            found |= {part if part in known else base for part in parts}
    own = {name, *_packages(name)}
    return {package for one in found for package in (one, *_packages(one))} & set(known) - own


def _packages(name: str) -> list[str]:
    """Those that a module is in: their files are read before it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def circle(known: dict[str, Path]) -> list[str]:
    """The modules of a circle, [] if there is none."""
    try:
        TopologicalSorter({name: needs(name, path, known) for name, path in known.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_files_need_each_other_in_one_direction():
    known = modules()
    assert len(known) > 80
    assert not (found := circle(known)), " needs ".join(reversed(found))


def test_a_circle_is_found(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from bitloom.x import b\n")
    (tmp_path / "b.py").write_text("from .c import g\n")
    (tmp_path / "c.py").write_text("import bitloom.x.a\n")
    assert set(circle({f"bitloom.x.{n}": tmp_path / f"{n}.py" for n in "abc"})) == {f"bitloom.x.{n}" for n in "abc"}
