# SPDX-License-Identifier: Apache-2.0
"""The stages of the flow. Each module has `run(context) -> str`: write into context.out, return a line for the display."""
