"""Signals that end a run: SIGTERM saves first, and SIGINT (Ctrl-C) is never lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(SystemExit):
    """A run was ended by SIGTERM after its state was saved. The status of the process is 143."""

    def __init__(self):
        super().__init__(128 + signal.SIGTERM)


class Stop:
    """The signal to end, if one has arrived."""

    def __init__(self):
        self.signal: int | None = None

    def check(self) -> None:
        """**Raises:** `Terminated` or `KeyboardInterrupt` if a signal has arrived."""
        if self.signal is not None:
            raise KeyboardInterrupt if self.signal == signal.SIGINT else Terminated


@contextmanager
def watch_signals() -> Iterator[Stop]:
    """Note the signals that arrive while the block runs.

    The first SIGTERM is only noted: who trains calls `check` once the state is saved. A second one
    ends the block at once. SIGINT raises `KeyboardInterrupt` and is noted as well, because Python
    only prints an exception that is raised while a callback of the garbage collector runs.

    Handlers of the program that calls this stay, and so do all handlers outside the main thread.
    """
    stop = Stop()

    def terminate(signum: int, frame: object) -> None:
        if stop.signal is not None:
            raise Terminated
        stop.signal = signum

    def interrupt(signum: int, frame: object) -> None:
        stop.signal = signum
        raise KeyboardInterrupt

    ours = (
        (signal.SIGTERM, signal.SIG_DFL, terminate),
        (signal.SIGINT, signal.default_int_handler, interrupt),
    )
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number, usual, handler in ours:
            if signal.getsignal(number) is usual:
                before[number] = signal.signal(number, handler)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
