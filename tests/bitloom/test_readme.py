# SPDX-License-Identifier: Apache-2.0
"""README.md tells the truth: its commands parse or run, its tables are the schema's, its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from bitloom.cli import app
from bitloom.qat.networks import MODELS
from bitloom.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [shlex.split(line, comments=True) for block in re.findall(r"```sh\n(.*?)```", README, flags=re.S) for line in block.splitlines()]
INLINE = [shlex.split(re.sub(r"[\[\]]", "", text)) for text in re.findall(r"`(bitloom [^`]+)`", README)]


@pytest.mark.parametrize("argv", [c for c in [*COMMANDS, *INLINE] if c and c[0] == "bitloom"], ids=" ".join)
def test_every_bitloom_command_parses(argv):
    group = typer.main.get_command(app)
    if argv[1].startswith("--"):
        assert argv[1] in {option for parameter in group.params for option in parameter.opts}
        return
    command = group.commands[argv[1]]
    given = [re.sub(r"^key=value$", "training.seed=1", a) for a in argv[2:]]
    command.make_context(argv[1], given)  # raises a usage error for what it does not know


@pytest.mark.parametrize("target", sorted({c[1] for c in COMMANDS if c and c[0] == "make"}))
def test_every_make_target_exists(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_commands_to_test():
    assert {"make", "bitloom", "."} <= {c[0] for c in COMMANDS if c} and len(INLINE) >= 8


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README)) | set(re.findall(r"recipes/[\w-]+\.yaml", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def _rows() -> dict[str, str]:
    """Dotted key -> default, from the recipes' table; a row may name several keys of one section."""
    rows = {}
    for keys, default in re.findall(r"^\| (`[a-z_.]+`.*?) \| (.*?) \|", README.split("## Recipes")[1].split("## ")[0], flags=re.M):
        names = re.findall(r"`([a-z_.]+)`", keys)
        section = names[0].rpartition(".")[0]
        full = [n if "." in n or not section else f"{section}.{n}" for n in names]
        defaults = [d.strip() for d in default.split(",")]
        rows |= dict(zip(full, defaults * len(full) if len(defaults) == 1 else defaults, strict=False))
        assert len(defaults) in (1, len(full)), keys
    return rows


def _schema() -> dict[str, object]:
    """Dotted key -> default, from the schema; of `model` an encoder's, and what only other kinds of networks have."""
    made = [kind.model_validate({} if network == "encoder" else {"network": network}) for network, kind in reversed(MODELS.items())]
    keys = {f"model.{key}": getattr(own, key) for own in made for key in type(own).model_fields}
    for name, field in Recipe.model_fields.items():
        if name == "model":
            continue
        if not hasattr(field.annotation, "model_fields"):
            keys[name] = field.default
            continue
        section = {"hardware": {"target_cycles": 1}}.get(name, {})
        made = field.annotation.model_validate(section)
        keys |= {f"{name}.{key}": getattr(made, key) for key in field.annotation.model_fields}
    return keys


def test_the_table_of_recipe_keys_is_the_schemas():
    assert set(_rows()) == set(_schema())


@pytest.mark.parametrize(
    ("key", "default"),
    [(k, d) for k, d in _rows().items() if re.fullmatch(r"[\d.e-]+|[a-z]+", d) and d not in ("-", "all")],
)
def test_each_default_is_the_schemas(key, default):
    value, words = _schema()[key], {"true": True, "false": False}
    assert value == (default if isinstance(value, str) else words[default] if default in words else float(default))


def test_the_library_example_runs(tiny_copy, capsys):
    """The README's Python block, on the smallest recipe and its finished run, as which it finds everything done but its sentence."""
    code = re.search(r"```python\n(.*?)```", README, flags=re.S)[1]
    assert all(text in code for text in ("recipes/quickstart.yaml", "runs/mine", "training.seed=1"))
    written = (tiny_copy / "report.html").stat().st_mtime_ns
    code = code.replace("recipes/quickstart.yaml", str(ROOT / "tests" / "tiny.yaml")).replace("runs/mine", str(tiny_copy))
    code = code.replace("training.seed=1", "training.seed=0")  # as the run's
    exec(compile(code, "README.md", "exec"), {})
    assert (tiny_copy / "report.html").stat().st_mtime_ns == written and "Prediction(" in capsys.readouterr().out


def test_the_quickstart_example_runs(tiny_copy):
    """examples/quickstart.py on a finished run: only what it prints is new."""
    command = [
        sys.executable,
        str(ROOT / "examples" / "quickstart.py"),
        str(ROOT / "tests" / "tiny.yaml"),
        str(tiny_copy),
    ]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"} | {key: os.environ[key] for key in ("HOME", "BITLOOM_BUILD", "BITLOOM_CACHE") if key in os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)  # with the simulation that the run has built
    assert done.returncode == 0, done.stderr
    assert "0 of " in done.stdout and "Prediction(" in done.stdout
