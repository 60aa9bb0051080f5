# SPDX-License-Identifier: Apache-2.0
"""What `pip install` puts where: everything below `bitloom`, nothing forgotten, and it works away from the repository."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from bitloom.version import __version__

ROOT = Path(__file__).parents[1]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = SETUP["package-dir"]  # package -> folder in the repository


def files(folder):
    return [f for f in (ROOT / folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts]


def installed_as(package, file):
    """Where a file of a package's folder lies once it is installed."""
    return "/".join([*package.split("."), *file.relative_to(ROOT / FOLDERS[package]).parts])


def test_every_folder_with_python_files_is_a_package():
    found = {installed_as(package, file.parent).replace("/", ".") for package, folder in FOLDERS.items() for file in files(folder) if file.suffix == ".py"}
    assert sorted(SETUP["packages"]) == sorted(found)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools leaves folders behind, and takes what earlier builds left."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    found = {package.metadata["Name"] for package in distributions()}  # not looked for by import: that changes how torch imports distutils later
    if missing := {"pip", "setuptools"} - found:
        pytest.skip(f"no {', '.join(missing)}")
    isolated = [] if int(version("setuptools").split(".")[0]) < 77 else ["--no-build-isolation"]
    build = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolated, "-w", str(out), str(source)],
        capture_output=True, text=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    if isolated == [] and build.returncode:
        pytest.skip("needs setuptools 77 or the network: pip install 'setuptools>=77'")
    assert build.returncode == 0, build.stderr
    return next(out.iterdir())


def test_the_wheel_holds_every_file_of_the_folders(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {installed_as(package, file) for package, folder in FOLDERS.items() for file in files(folder)}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A new environment with the wheel; the other packages are those of the tests. Gives its folder."""
    venv = tmp_path_factory.mktemp("a venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/*/site-packages"))
    subprocess.run([sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    assert {p.name for p in site.iterdir()} - {"__pycache__"} == {"bitloom", f"bitloom-{__version__}.dist-info"}
    others = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]  # their own .pth files are not read
    (site / "others.pth").write_text("".join(f"{p}\n" for p in others))
    return venv


@pytest.fixture
def command(installed, tmp_path):
    """Run the installed command in an empty folder with a blank in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def call(*argv):
        return subprocess.run([installed / "bin" / "bitloom", *argv], cwd=folder, env=clean, capture_output=True, text=True)

    call.folder, call.python = folder, installed / "bin" / "python"
    return call


@pytest.mark.slow  # in the plain run the wheel's files are compared, and the commands run from where they stand
def test_the_installed_command_finds_its_recipes_and_boards(command):
    where = subprocess.run([command.python, "-c", "import bitloom.hw; print(bitloom.hw.__file__)"], cwd=command.folder, capture_output=True, text=True)
    assert Path(where.stdout).is_relative_to(command.python.parents[1])  # and not the repository's
    recipes, boards = command("recipes"), command("boards")
    assert recipes.returncode == boards.returncode == 0, recipes.stderr + boards.stderr
    for path in (ROOT / "recipes").rglob("*.yaml"):
        assert re.search(rf"^{path.stem} ", recipes.stdout, flags=re.M)
    assert re.search(r"^ulx3s_85f ", boards.stdout, flags=re.M)
    assert command("run", "quickstart", "--set", "model.heads=3").returncode == 2  # found, and read as a recipe


@pytest.mark.slow
def test_the_installed_command_runs_the_whole_flow(command):
    shutil.copy(ROOT / "tests" / "tiny.yaml", command.folder)
    run = command("run", "tiny.yaml")
    assert run.returncode == 0, run.stderr
    assert (command.folder / "runs" / "tiny" / "report.html").is_file()
