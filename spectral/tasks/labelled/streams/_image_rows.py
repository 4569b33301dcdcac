"""Rows of an image set."""

import equinox as eqx
import jax
from jaxtyping import Array, Int, Key, PRNGKeyArray, UInt8

from ..._base._splits import Split


class ImageRows(eqx.Module):
    """Images of one split as they are stored, apart from augmentation."""

    pixels: UInt8[Array, "examples height width channels"]
    labels: Int[Array, " examples"]
    indices: Int[Array, " examples"]  # rows of the split
    split: Split = eqx.field(static=True)

    def keys(self, key: PRNGKeyArray) -> Key[Array, " examples"]:
        """Returns a key for each row. It depends on `key`, the split and the row only, so that
        what is drawn for a row stays the same whenever the row is shown."""
        key = jax.random.fold_in(key, 0 if self.split == "train" else 1)
        return jax.vmap(lambda row: jax.random.fold_in(key, row))(self.indices)
