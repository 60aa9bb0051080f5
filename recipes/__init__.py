# SPDX-License-Identifier: Apache-2.0
"""Recipes that come with bitloom: `bitloom recipes` lists them, `bitloom run NAME` runs one."""
