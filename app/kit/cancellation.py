"""Cancellations that were lost on their way.

`asyncio.wait_for` of Python 3.11 loses one that comes in the same turn of the event loop as the result, and the driver
sends with it: of the Ctrl-C's during a large write more than half were lost (measured). Long loops over the database
ask for it themselves.
"""

import asyncio


def raise_if_cancelled() -> None:
    """Raise CancelledError when this task was told to stop."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
