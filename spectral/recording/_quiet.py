"""Silence for the storage library, whose errors are raised again with one message each."""

import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


_SECONDS = 0.2  # in which the threads of a read that failed end


@contextmanager
def quiet_storage() -> Iterator[None]:
    """Leave out what Orbax and its storage print while the block runs.

    They log an error before they raise it. If a read fails, call `settle` in the block.
    """
    logs = [logging.getLogger(name) for name in ("absl", "asyncio")]
    were_disabled = [log.disabled for log in logs]
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    for log in logs:
        log.disabled = True
    sys.excepthook = lambda kind, error, trace: (
        None if _is_late(error) else hooks[0](kind, error, trace)
    )
    threading.excepthook = lambda given: None if _is_late(given.exc_value) else hooks[1](given)
    sys.unraisablehook = lambda given: None if _is_late(given.exc_value) else hooks[2](given)
    try:
        yield
    finally:
        for log, was_disabled in zip(logs, were_disabled, strict=True):
            log.disabled = was_disabled
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def settle() -> None:
    """Wait for what is left of a read that failed, once nothing holds its error any longer.

    Other reads were under way. Each prints a traceback when it finds its event loop closed, and
    one more when it is deleted.
    """
    time.sleep(_SECONDS)
    gc.collect()


def _is_late(error: Any) -> bool:
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
