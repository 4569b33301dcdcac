"""Checkpoints of a run, written and read with Orbax."""

import json
import pathlib
import warnings
import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, PyTree

from .._base._paths import expanded
from .._core import Run
from .._ensemble import Ensemble
from .._history import History
from .._recorders import AbstractCheckpointer
from ._fingerprint import difference, fingerprint
from ._quiet import quiet_storage, settle


class OrbaxCheckpointer(AbstractCheckpointer):
    """Keeps the last `keep` states of a run, or of an ensemble of runs, in `folder`.

    A checkpoint appears under its name only when it is complete. A process that is killed while it
    writes one therefore leaves the earlier ones intact. A resumed run continues bit for bit.

    Each checkpoint has checksums of its arrays and of its description, which holds the number of
    tasks and a fingerprint of the model, stream, algorithm, probes and key. A checkpoint that is
    damaged, renamed or of another configuration is rejected with a warning, and the one before it
    is used. The rejected folder is kept, with `rejected` in its name.

    ```python
    checkpointer = recording.OrbaxCheckpointer("runs/checkpoints")
    train_continual(model, stream, algo, checkpointer=checkpointer)
    ```

    **Arguments:**

    - `keep`: `None` keeps all states.
    - `extend`: also use a state of a configuration that differs only in the `num_tasks` of the
      stream. The run continues with the further tasks. It has the numbers of a run of all tasks if
      the first tasks of the stream do not depend on `num_tasks`.
    """

    def __init__(self, folder: str | pathlib.Path, *, keep: int | None = 2, extend: bool = False):
        self._folder = expanded("folder", folder).absolute()
        self._keep = keep
        self._free = {"stream.num_tasks"} if extend else set()
        # The last configuration and its fingerprint, which takes as long as reading all the data.
        self._known: tuple[PyTree, dict[str, str]] = (None, {})

    def restore(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        """Returns the newest usable state in the folder, or `None` if the folder holds no state.

        **Raises:** `ValueError` with the reasons if the folder holds states but none is usable.
        """
        restored, rejected = self._newest(config, run)
        for done in rejected:
            path = self._folder / str(done)
            path.rename(_unused(path.with_name(f"rejected-{done}")))
        return restored

    def read(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        """As `restore`, without changing the folder: another process may be writing to it.

        **Raises:** `ValueError` as `restore` does.
        """
        return self._newest(config, run)[0]

    def read_after(
        self, done: int, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History]:
        """The state after `done` tasks, which is one of `saved`. The folder is not changed.

        **Raises:** `ValueError` if it is damaged or belongs to another configuration.
        """
        try:
            return self._load(done, config, run)
        except _UnusableError as reason:
            raise ValueError(
                f"The checkpoint of task {done} in {str(self._folder)!r} {reason}. Choose another."
            ) from reason

    @property
    def saved(self) -> tuple[int, ...]:
        """After how many tasks the states in the folder were saved, in ascending order."""
        if not self._folder.exists():
            return ()
        with quiet_storage(), self._reader() as manager:
            return tuple(sorted(manager.all_steps()))

    def save(self, config: PyTree, done: int, run: Run | Ensemble, history: History) -> None:
        leaves = jax.tree.leaves(eqx.filter(run, eqx.is_array))
        # Orbax cannot store arrays without entries. Their shape determines them.
        arrays = {f"{i}": _to_numpy(leaf) for i, leaf in enumerate(leaves) if leaf.size}
        arrays |= {f"column {i}": column for i, column in enumerate(history.values())}
        about = {
            "done": done,
            "fingerprint": self._fingerprint(config),
            "columns": list(history),
            "checksums": {name: _checksum(array) for name, array in arrays.items()},
        }
        about["checksum"] = _text_checksum(about)
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep, cleanup_tmp_directories=True, **_alone()
        )
        with ocp.CheckpointManager(self._folder, options=options) as manager:
            manager.save(
                done,
                args=ocp.args.Composite(
                    arrays=ocp.args.PyTreeSave(arrays), about=ocp.args.JsonSave(about)
                ),
                force=True,
            )

    def _newest(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[tuple[int, Run | Ensemble, History] | None, list[int]]:
        """The newest usable state, and the numbers of tasks of the newer ones that are rejected."""
        rejected: dict[int, str] = {}
        for done in reversed(self.saved):
            try:
                restored = self._load(done, config, run)
            except _UnusableError as reason:
                rejected[done] = str(reason)
                continue
            for other, why in rejected.items():
                warnings.warn(
                    f"The checkpoint of task {other} in {str(self._folder)!r} {why}. The one of "
                    f"task {done} is used.",
                    stacklevel=3,
                )
            return restored, list(rejected)
        if rejected:
            reasons = "; ".join(f"that of task {done} {why}" for done, why in rejected.items())
            raise ValueError(
                f"No checkpoint in {str(self._folder)!r} can be used: {reasons}. Choose another "
                "folder, or return to the configuration of the checkpoints."
            )
        return None, []

    def _load(
        self, done: int, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History]:
        """**Raises:** `_UnusableError` if the checkpoint is damaged or of another configuration."""
        arrays, static = eqx.partition(run, eqx.is_array)
        leaves, structure = jax.tree.flatten(arrays)
        kept = [f"{i}" for i, leaf in enumerate(leaves) if leaf.size]
        about, saved = self._read_files(done, config, kept)
        leaves = [
            _from_numpy(saved[f"{i}"], leaf) if leaf.size else leaf for i, leaf in enumerate(leaves)
        ]
        history = History({name: saved[f"column {i}"] for i, name in enumerate(about["columns"])})
        return done, eqx.combine(jax.tree.unflatten(structure, leaves), static), history

    def _read_files(
        self, done: int, config: PyTree, kept: list[str]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The description of a checkpoint and its arrays by name. **Raises:** as `_load`."""
        with quiet_storage():
            try:
                return self._verified(done, config, kept)
            except _UnusableError:
                raise
            except Exception as error:  # Orbax and its storage raise many types for damaged files.
                wrong = (str(error).splitlines() or [type(error).__name__])[0][:200]
            settle()
        raise _UnusableError(f"is damaged: {wrong}")

    def _verified(
        self, done: int, config: PyTree, kept: list[str]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """As `_read_files`, with the errors of the storage."""
        with self._reader() as manager:
            about = manager.restore(done, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
            about = about["about"]
            # Before it is compared with anything, because every part of it may be damaged.
            if "checksum" not in about:
                raise _UnusableError("was saved by an earlier version, without all checksums")
            if about.pop("checksum") != _text_checksum(about):
                raise _UnusableError("is damaged: its description does not have a right checksum")
            if about["done"] != done:
                raise _UnusableError(f"was saved after {about['done']} tasks, under another name")
            both = (about["fingerprint"], self._fingerprint(config))
            known = ({k: v for k, v in f.items() if k not in self._free} for f in both)
            changed = difference(*known)
            if changed is not None:
                raise _UnusableError(f"belongs to another configuration: {changed}")
            columns = [f"column {i}" for i in range(len(about["columns"]))]
            like = {name: np.zeros(0) for name in (*kept, *columns)}
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
            arrays = ocp.args.PyTreeRestore(like, restore_args=as_numpy)
            saved = manager.restore(done, args=ocp.args.Composite(arrays=arrays))["arrays"]
        if any(_checksum(saved[name]) != sum_ for name, sum_ in about["checksums"].items()):
            raise _UnusableError("is damaged: its arrays do not have the saved checksums")
        return about, saved

    def _fingerprint(self, config: PyTree) -> dict[str, str]:
        if self._known[0] is not config:
            self._known = (config, fingerprint(config))
        return self._known[1]

    def _reader(self) -> ocp.CheckpointManager:
        """A manager that leaves other files in the folder alone, as another process may be writing
        them."""
        # With `read_only`, Orbax would print a warning each time.
        options = ocp.CheckpointManagerOptions(**_alone())
        return ocp.CheckpointManager(self._folder, options=options)


def _alone() -> dict[str, Any]:
    """Options of a manager that works in this process alone, and waits for no other one."""
    own = jax.process_index()
    return {
        "create": False,
        "enable_async_checkpointing": False,
        "multiprocessing_options": ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"{own}"
        ),
    }


class _UnusableError(Exception):
    """A checkpoint cannot be used. The message is the predicate of a sentence about it."""


def _unused(path: pathlib.Path) -> pathlib.Path:
    """`path` if it does not exist; otherwise the first of `path1`, `path2`, ... that does not."""
    names = (path.with_name(f"{path.name}{suffix}") for suffix in ("", *range(1, 1000)))
    return next(name for name in names if not name.exists())


def _checksum(array: np.ndarray) -> str:
    values = np.ascontiguousarray(array)
    return f"{values.dtype}{list(values.shape)} {zlib.crc32(values.tobytes()):08x}"


def _text_checksum(about: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(about, sort_keys=True).encode()):08x}"


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(saved: np.ndarray, leaf: Array) -> Array:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(leaf))
    return jnp.asarray(saved)
