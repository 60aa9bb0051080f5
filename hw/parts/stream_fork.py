# SPDX-License-Identifier: Apache-2.0
"""stream_fork: one stream to several readers (hw/rtl/stream_fork.sv)."""

from __future__ import annotations

from bitloom.hw.instance import Instance, Module, Params, Terms


def instance(width: int, branches: int) -> Instance:
    """A fork of a stream of `width` bits a beat."""
    return Instance(module=MODULE.name, params={"N": branches, "WIDTH": width})


def terms(p: Params) -> Terms:
    return {"branches": p["N"]}


MODULE = Module(name="stream_fork", terms=terms)
