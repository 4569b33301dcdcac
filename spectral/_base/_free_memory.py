"""How much memory is free."""

import pathlib
import re

import jax


def free_bytes() -> int | None:
    """The free memory of the device, or of the machine if that is a CPU; `None` if unknown."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        text = pathlib.Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"MemAvailable: *(\d+) kB", text)
    return None if found is None else 1024 * int(found[1])
