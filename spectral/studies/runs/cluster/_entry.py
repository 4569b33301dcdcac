"""The function that workers call."""

import importlib
import socket
from collections.abc import Callable, Mapping
from typing import Any


Entry = Callable[[Mapping[str, str], bytes], dict[str, Any]]


def entry() -> Entry:
    """The function that workers call, with the software of this process and a packed job.

    A function of a module is pickled by its name, which a worker without the package could not
    look up. A function that is made here is pickled with its code, so that such a worker can say
    what it lacks.
    """

    def call(wanted: Mapping[str, str], payload: bytes) -> dict[str, Any]:
        try:
            worker = importlib.import_module("spectral.studies.runs.cluster._worker")
        except Exception as error:
            message = (
                f"The worker on {socket.gethostname()} cannot import the package "
                f"({type(error).__name__}: {error}): install spectral-plasticity there, in the "
                "environment that the worker runs in."
            )
            return {"kind": "rejected", "message": message, "warnings": ()}
        return worker.work(wanted, payload)

    return call
