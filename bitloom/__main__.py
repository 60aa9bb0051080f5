# SPDX-License-Identifier: Apache-2.0
"""`python -m bitloom` is `bitloom`."""

from bitloom.cli import main

if __name__ == "__main__":
    main()
