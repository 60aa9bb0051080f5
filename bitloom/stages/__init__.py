# SPDX-License-Identifier: Apache-2.0
"""The stages of the flow. A module has `run(context) -> str`: it writes into context.out and returns a line to show."""
