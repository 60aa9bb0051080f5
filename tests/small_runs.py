# SPDX-License-Identifier: Apache-2.0
"""Runs of the smallest recipe, for stages that only write a file (the fixture `stages`)."""

from pathlib import Path

import pytest

from bitloom.recipe import Recipe
from bitloom.runfolder import RunFolder

RECIPE = """\
name: small
data: {name: reviews}
hardware: {target_cycles: 5000}
"""


def make(path: Path, *overrides: str, text: str = RECIPE, force: bool = False) -> RunFolder:
    recipe = Recipe.parse(text, "r.yaml", list(overrides))
    run = RunFolder.create(path, recipe, force=force)
    run.adopt(recipe, None)
    return run


def raised(error: type[Exception], call, *args, **kwargs) -> str:
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    return str(caught.value)
