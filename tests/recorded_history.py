"""Histories as runs record them: columns, and what they are."""

from collections.abc import Mapping

import numpy as np

from spectral import History, probes, Quantity
from spectral._base._quantity import described
from spectral.tasks._base._label_loss import label_quantities
from spectral.tasks.rl.rollouts._episode_metrics import return_quantities


def recorded(
    columns: Mapping[str, np.ndarray],
    sections: Mapping[str, Mapping[str, object]] | None = None,
    *,
    chance: float = 0.1,
) -> History:
    """A history with the quantities of streams and of the probes that the settings name."""
    known: dict[str, Quantity] = label_quantities(chance, online=True) | return_quantities(
        evaluated=True
    )
    for name, section in (sections or {}).items():
        probe = getattr(probes, str(section["type"]))()
        declared = probe.quantities()
        names = [*declared, *(c for q in declared.values() for c in q.bounds.values())]
        for when in ("start", "end"):
            known |= described(dict.fromkeys(names, 2), probe, name, f"{name}.{when}.")
    return History(columns, quantities={c: q for c, q in known.items() if c in columns})
