"""The settings of JAX that change the numbers of a run."""

from collections.abc import Mapping
from typing import Any

import jax

from ...experiment._settings import SettingsError


NUMERICS = "numerics"  # where the record of a run holds them
_OPTIONS = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_default_matmul_precision",
)


def numerics() -> dict[str, Any]:
    """The settings of JAX on which the numbers of a run that starts now depend."""
    return {name: getattr(jax.config, name) for name in _OPTIONS}


def check_numerics(recorded: Mapping[str, Any], where: str) -> None:
    """Check that a run can be continued with the present settings of JAX. Otherwise its algorithms
    would be trained with different ones, and their numbers could not be compared.

    **Raises:** `SettingsError` naming the first option that differs.
    """
    before = recorded.get(NUMERICS)
    for name, now in numerics().items():
        if isinstance(before, Mapping) and name in before and before[name] != now:
            raise SettingsError(
                f"`{name}` is {now!r}, but the run in {where!r} was begun with {before[name]!r}, "
                f"and all of it must have one: set {name.upper()}={before[name]} in the "
                "environment, or name another folder."
            )
