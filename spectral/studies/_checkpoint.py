"""Checkpoints of a run, kept by Orbax."""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, PyTree

from .._core import Run
from .._history import History
from .._loop import AbstractCheckpointer
from ._fingerprint import difference, fingerprint


class OrbaxCheckpointer(AbstractCheckpointer):
    """Keeps the last `keep` states of a run in `folder`.

    A checkpoint appears under its name only when it is complete, so a process that is killed while
    writing one leaves those before it intact. Resuming continues bit for bit. With each checkpoint
    goes a fingerprint of the model, stream, algorithm, probes and key; a run with another one is
    refused.

    ```python
    train_continual(model, stream, algo, checkpointer=studies.OrbaxCheckpointer("runs/checkpoints"))
    ```
    """

    folder: pathlib.Path = eqx.field(static=True)
    keep: int = eqx.field(static=True, default=2)

    def __init__(self, folder: str | pathlib.Path, keep: int = 2):
        self.folder = pathlib.Path(folder).expanduser().absolute()
        self.keep = keep

    def restore(self, config: PyTree, run: Run) -> tuple[int, Run, History] | None:
        """The newest state in the folder, or `None` if there is none.

        **Raises:** `ValueError`, naming the part, if it belongs to another configuration.
        """
        if not self.folder.exists():
            return None
        with self._manager() as manager:
            done = manager.latest_step()
            if done is None:
                return None
            about = manager.restore(done, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
            changed = difference(about["about"]["fingerprint"], fingerprint(config))
            if changed is not None:
                raise ValueError(
                    f"The checkpoint of task {done} in {str(self.folder)!r} belongs to another "
                    f"configuration: {changed}. Choose another folder, or go back to that one."
                )
            names = about["about"]["columns"]
            arrays, static = eqx.partition(run, eqx.is_array)
            leaves, structure = jax.tree.flatten(arrays)
            like = {f"{i}": np.zeros(0) for i in range(len(leaves))}
            like |= {f"column {i}": np.zeros(0) for i in range(len(names))}
            numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
            kept = manager.restore(
                done,
                args=ocp.args.Composite(arrays=ocp.args.PyTreeRestore(like, restore_args=numpy)),
            )["arrays"]
        leaves = [_from_numpy(kept[f"{i}"], leaf) for i, leaf in enumerate(leaves)]
        history = History({name: kept[f"column {i}"] for i, name in enumerate(names)})
        return done, eqx.combine(jax.tree.unflatten(structure, leaves), static), history

    def save(self, config: PyTree, done: int, run: Run, history: History) -> None:
        leaves = jax.tree.leaves(eqx.filter(run, eqx.is_array))
        arrays = {f"{i}": _to_numpy(leaf) for i, leaf in enumerate(leaves)}
        arrays |= {f"column {i}": column for i, column in enumerate(history.values())}
        about = {"fingerprint": fingerprint(config), "columns": list(history)}
        with self._manager() as manager:
            manager.save(
                done,
                args=ocp.args.Composite(
                    arrays=ocp.args.PyTreeSave(arrays), about=ocp.args.JsonSave(about)
                ),
                force=True,
            )

    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        return ocp.CheckpointManager(self.folder, options=options)


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(kept: np.ndarray, leaf: Array) -> Array:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(kept), impl=jax.random.key_impl(leaf))
    return jnp.asarray(kept)
