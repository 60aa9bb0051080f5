# SPDX-License-Identifier: Apache-2.0
"""What can go wrong on the board."""


class DeviceError(Exception):
    """An overlay that is not what it says, or hardware that does not answer."""


class ImageError(Exception):
    """An image of weights that the board does not take; the text ends with what its memory holds now."""
