"""Waiting for conditions of other processes."""
import time


class GiveUp(Exception):
    """Raised by a condition that can never become true."""


def eventually(condition, what, timeout=60.0, interval=0.02):
    """Polls `condition` until it is true and returns its value; fails after `timeout` seconds.

    An exception other than GiveUp counts as not yet; the last one is shown on failure."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except GiveUp:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it may pass
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}; last: {last!r}"[:4000])
        time.sleep(interval)
