"""Checkpoints of a run, kept by Orbax."""

import pathlib
import warnings
import zlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, PyTree

from .._core import Run
from .._ensemble import Ensemble
from .._history import History
from .._recorders import AbstractCheckpointer
from ._fingerprint import difference, fingerprint


class OrbaxCheckpointer(AbstractCheckpointer):
    """Keeps the last `keep` states of a run, or of an ensemble of runs, in `folder`.

    A checkpoint appears under its name only when it is complete, so a process that is killed while
    writing one leaves those before it intact. Resuming continues bit for bit. With each checkpoint
    go a checksum of its arrays and a fingerprint of the model, stream, algorithm, probes and key. A
    checkpoint that is damaged or of another configuration is rejected with a warning, and the one
    before it is used; its folder stays, with `rejected` in its name.

    ```python
    checkpointer = recording.OrbaxCheckpointer("runs/checkpoints")
    train_continual(model, stream, algo, checkpointer=checkpointer)
    ```
    """

    folder: pathlib.Path
    keep: int
    # The configuration of the run and its fingerprint, which takes as long as reading all data.
    _known: tuple[PyTree, dict[str, str]]

    def __init__(self, folder: str | pathlib.Path, *, keep: int = 2):
        self.folder = pathlib.Path(folder).expanduser().absolute()
        self.keep = keep
        self._known = (None, {})

    def restore(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        """The newest state in the folder that can be used, or `None` if there is none at all.

        **Raises:** `ValueError` if there are states and none can be used, with the reasons.
        """
        restored, rejected = self._newest(config, run)
        for step in rejected:
            path = self.folder / str(step)
            path.rename(_free(path.with_name(f"rejected-{step}")))
        return restored

    def read(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        """As `restore`, but the folder is left as it is: another process may be writing to it.

        **Raises:** `ValueError` as `restore` does.
        """
        return self._newest(config, run)[0]

    def _newest(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[tuple[int, Run | Ensemble, History] | None, list[int]]:
        """What `restore` returns, and the states that were rejected before it."""
        if not self.folder.exists():
            return None, []
        with self._reader() as manager:
            steps = sorted(manager.all_steps(), reverse=True)
        rejected: dict[int, str] = {}
        for done in steps:
            restored = self._restore(done, config, run)
            if not isinstance(restored, str):
                for step, reason in rejected.items():
                    warnings.warn(
                        f"The checkpoint of task {step} in {str(self.folder)!r} {reason}. The one "
                        f"of task {done} is used.",
                        stacklevel=3,
                    )
                return restored, list(rejected)
            rejected[done] = restored
        if rejected:
            reasons = "; ".join(f"that of task {step} {why}" for step, why in rejected.items())
            raise ValueError(
                f"No checkpoint in {str(self.folder)!r} can be used: {reasons}. Choose another "
                "folder, or go back to the configuration it belongs to."
            )
        return None, []

    def save(self, config: PyTree, done: int, run: Run | Ensemble, history: History) -> None:
        leaves = jax.tree.leaves(eqx.filter(run, eqx.is_array))
        # Orbax takes none without entries, such as some physics has; their shape says it all.
        arrays = {f"{i}": _to_numpy(leaf) for i, leaf in enumerate(leaves) if leaf.size}
        arrays |= {f"column {i}": column for i, column in enumerate(history.values())}
        about = {
            "fingerprint": self._fingerprint(config),
            "columns": list(history),
            "checksums": {name: _checksum(array) for name, array in arrays.items()},
        }
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        with ocp.CheckpointManager(self.folder, options=options) as manager:
            manager.save(
                done,
                args=ocp.args.Composite(
                    arrays=ocp.args.PyTreeSave(arrays), about=ocp.args.JsonSave(about)
                ),
                force=True,
            )

    def _restore(
        self, done: int, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | str:
        """One state, or why it cannot be used."""
        arrays, static = eqx.partition(run, eqx.is_array)
        leaves, structure = jax.tree.flatten(arrays)
        # Orbax and its storage raise errors of many kinds for files that are damaged.
        try:
            with self._reader() as manager:
                about = manager.restore(done, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
                about = about["about"]
                changed = difference(about["fingerprint"], self._fingerprint(config))
                if changed is not None:
                    return f"belongs to another configuration: {changed}"
                names = about["columns"]
                like = {f"{i}": np.zeros(0) for i, leaf in enumerate(leaves) if leaf.size}
                like |= {f"column {i}": np.zeros(0) for i in range(len(names))}
                numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
                kept = manager.restore(
                    done,
                    args=ocp.args.Composite(
                        arrays=ocp.args.PyTreeRestore(like, restore_args=numpy)
                    ),
                )["arrays"]
            for name, checksum in about["checksums"].items():
                if _checksum(kept[name]) != checksum:
                    return "is damaged: its numbers are not those that were saved"
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return f"is damaged: {reason[:200]}"
        leaves = [
            _from_numpy(kept[f"{i}"], leaf) if leaf.size else leaf for i, leaf in enumerate(leaves)
        ]
        history = History({name: kept[f"column {i}"] for i, name in enumerate(names)})
        return done, eqx.combine(jax.tree.unflatten(structure, leaves), static), history

    def _fingerprint(self, config: PyTree) -> dict[str, str]:
        if self._known[0] is not config:
            self._known = (config, fingerprint(config))
        return self._known[1]

    def _reader(self) -> ocp.CheckpointManager:
        """Leaves what lies in the folder alone, such as what another process is writing."""
        # Not `read_only`, of which Orbax warns on standard error each time.
        options = ocp.CheckpointManagerOptions(create=False, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self.folder, options=options)


def _free(path: pathlib.Path) -> pathlib.Path:
    """`path`, or with a number behind it, so that nothing is there."""
    names = (path.with_name(f"{path.name}{suffix}") for suffix in ("", *range(1, 1000)))
    return next(name for name in names if not name.exists())


def _checksum(array: np.ndarray) -> str:
    numbers = np.ascontiguousarray(array)
    return f"{numbers.dtype}{list(numbers.shape)} {zlib.crc32(numbers.tobytes()):08x}"


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(kept: np.ndarray, leaf: Array) -> Array:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(kept), impl=jax.random.key_impl(leaf))
    return jnp.asarray(kept)
