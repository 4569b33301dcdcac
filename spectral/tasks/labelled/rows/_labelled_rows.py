"""Rows of labelled data."""

import equinox as eqx
import jax
from jaxtyping import Array, Int, Key, PRNGKeyArray, Shaped

from ..._base._label_loss import Labels
from ..._base._splits import by_split, Split


class LabelledRows(eqx.Module):
    """Rows of one split as they are stored, apart from augmentation."""

    inputs: Shaped[Array, "rows ..."]
    labels: Labels
    indices: Int[Array, " rows"]  # rows of the split
    split: Split = eqx.field(static=True)

    def keys(self, key: PRNGKeyArray) -> Key[Array, " rows"]:
        """Returns a key for each row. It depends on `key`, the split and the row only, so that
        what is drawn for a row stays the same whenever the row is shown."""
        key = jax.random.fold_in(key, by_split(self.split, train=0, held_out=1, validation=2))
        return jax.vmap(lambda row: jax.random.fold_in(key, row))(self.indices)
