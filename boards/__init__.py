# SPDX-License-Identifier: Apache-2.0
"""Board data: one declarative YAML file per board, read by `bitloom.hw.board`. How to add one: docs/boards.md."""
