# SPDX-License-Identifier: Apache-2.0
"""Makes the shared helpers beside this file importable; a server of a PYNQ board's overlay, and encoders whose weights are in that board's memory."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pynq_cases import Encoder, serving
from pynq_streamed import MEMORY, Other


@pytest.fixture
def serve(monkeypatch):
    yield from serving(monkeypatch)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Encoder:
    """With its weights in the board's memory; modules of those that have them on the chip have their own."""
    return Encoder(tmp_path_factory.mktemp("encoder"), "sequence", MEMORY, seed=5)


@pytest.fixture(scope="session")
def other(encoder, tmp_path_factory) -> Other:
    return Other(encoder, tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def on_chip(tmp_path_factory) -> Encoder:
    return Encoder(tmp_path_factory.mktemp("on_chip"), "sequence", seed=5)
