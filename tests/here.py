# SPDX-License-Identifier: Apache-2.0
"""Workers that are none: what is given to them is done in the test's own process (hw/workers.py)."""


class Here:
    """What was submitted last is done first. Workers in processes of their own: tests/hw/test_workers.py."""

    def __init__(self, crew, function, shared):
        self.crew, self.function, self.shared, self.given = crew, function, shared, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def room(self):
        return self.crew.count - len(self.given)

    def submit(self, key, *arguments):
        self.given.append((key, arguments))

    def next(self):
        key, arguments = self.given.pop()
        return key, self.function(self.shared, *arguments)
