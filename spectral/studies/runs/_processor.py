"""The processor that trains."""

import pathlib
import platform


def processor() -> str:
    """The name of this machine's processor, such as "AMD EPYC"; its architecture if the system does
    not say more."""
    facts = pathlib.Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((name for name in names if name), platform.processor() or platform.machine())
