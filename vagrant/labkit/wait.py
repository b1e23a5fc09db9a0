# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition by asking, never by a fixed sleep."""
import time

from .topology import LabError

INTERVAL = 0.02


def until(condition, seconds):
    """The condition's value once it is true, or its last value when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() >= end:
            return value
        time.sleep(INTERVAL)


def must(what, condition, seconds, hint=""):
    """As `until`, but a LabError that names `what` when the time is over. The condition may return a text
    in `Missing` to say what is still missing."""
    last = Missing("")

    def ask():
        nonlocal last
        value = condition()
        if isinstance(value, Missing):
            last = value
            return None
        return value

    value = until(ask, seconds)
    if not value:
        raise LabError(f"{what} not within {seconds:g} s{': ' + last.text if last.text else ''}", hint)
    return value


class Missing:
    """A condition that does not hold yet, and why."""

    def __init__(self, text):
        self.text = text

    def __bool__(self):
        return False
