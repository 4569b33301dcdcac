"""Which rows belong to which class."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


class ClassRows(eqx.Module):
    """The rows of a set of labels, class by class."""

    table: Int[Array, "classes most"]  # rows of each class, padded with row 0
    counts: Int[Array, " classes"]  # rows of each class

    def __init__(self, labels: Int[Array, " rows"], num_classes: int):
        rows = [np.flatnonzero(np.asarray(labels) == c) for c in range(num_classes)]
        most = max(len(r) for r in rows)
        self.table = jnp.asarray([np.pad(r, (0, most - len(r))) for r in rows], dtype=int)
        self.counts = jnp.asarray([len(r) for r in rows], dtype=int)

    def of(self, classes: Int[Array, " k"]) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        """The rows of these classes, followed by rows that do not count; and their number. A class
        of -1 has no rows."""
        counts = jnp.where(classes >= 0, self.counts[classes], 0)
        counted = jnp.arange(self.table.shape[1])[None] < counts[:, None]
        # Stable: the rows keep the order of their classes, and their own.
        order = jnp.argsort(~counted.reshape(-1), stable=True)
        return self.table[classes].reshape(-1)[order], jnp.sum(counts)

    def fewest(self, k: int) -> int:
        """Rows of the `k` classes that have the fewest."""
        return int(np.sort(np.asarray(self.counts))[:k].sum())

    def most(self, k: int) -> int:
        """Rows of the `k` classes that have the most."""
        return int(np.sort(np.asarray(self.counts))[-k:].sum())
