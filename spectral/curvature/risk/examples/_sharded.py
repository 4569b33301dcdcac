"""Examples that are divided over several devices."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from ...._arguments import as_int
from ._example_batch import ExampleBatch
from ._examples import AbstractExamples, Make
from ._in_memory import check_lengths, InMemory


Result = TypeVar("Result")


class Sharded(AbstractExamples):
    """The examples of a `Risk`, divided evenly over the devices of a mesh.

    ```python
    import jax
    import jax.numpy as jnp
    import numpy as np
    from spectral.curvature import Risk, Sharded, SquaredError

    def forward(w, inputs):
        return jnp.tanh(inputs @ w)

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("examples",))
    examples = Sharded(np.ones((100, 3)), np.zeros((100, 2)), mesh=mesh)
    risk = Risk.of(forward, SquaredError(), examples)
    jax.grad(risk)(jnp.ones((3, 2)))  # or any operator and estimator
    ```

    Every device passes its own examples, in batches of `batch_size` if the risk has one, and the
    devices add their results once: a product with a matrix has one all-reduce, of a vector that
    joins all parameters of one dtype. The numbers are those of one device to rounding, because
    the examples are added in another order. If the devices do not divide their number, the last
    ones are padded with examples of weight 0. The network is linearised again in every product.

    **Arguments:**

    - `inputs`, `targets`: as for `Risk`. Pass NumPy arrays, so that no device holds all of them.
    - `mesh`: a `jax.sharding.Mesh` with one axis, of devices of this process.

    **Raises:** `ValueError` if there are no examples, if inputs and targets differ in their number,
    if the mesh has more than one axis, more devices than there are examples, or a device of another
    process.
    """

    padded_inputs: PyTree[Array]  # [devices * per device, ...]
    padded_targets: PyTree[Array]
    size: int = eqx.field(static=True, converter=as_int)  # without padding
    mesh: Mesh = eqx.field(static=True)

    def __init__(self, inputs: PyTree, targets: PyTree, *, mesh: Mesh):
        self.size, self.mesh = check_lengths(inputs, targets), mesh
        _check_mesh(mesh, self.size)
        missing = -self.size % mesh.size
        place = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))

        def spread(x: Array | np.ndarray) -> Array:
            if missing:
                with_repeats = jnp.concatenate if isinstance(x, jax.Array) else np.concatenate
                x = with_repeats([x, *[x[-1:]] * missing])
            return jax.device_put(x, place)

        self.padded_inputs = jax.tree.map(spread, inputs)
        self.padded_targets = jax.tree.map(spread, targets)

    @property
    def num_examples(self) -> int:
        return self.size

    @property
    def at_once(self) -> int:
        return -(-self.size // self.mesh.size)

    @property
    def example(self) -> tuple[PyTree, PyTree]:
        return self._everything().example

    @property
    def arrays(self) -> tuple[PyTree[Array], PyTree[Array]]:
        return jax.tree.map(lambda x: x[: self.size], (self.padded_inputs, self.padded_targets))

    def num_batches(self, batch_size: int) -> int:
        return -(-self.at_once // batch_size)

    def whole(self, make: Make, batch_size: int) -> ExampleBatch | None:
        return None

    def take(self, make: Make, batch_size: int, indices: Int[Array, " batch"]) -> ExampleBatch:
        padded = self._is_padded(batch_size)
        give = lambda inputs, targets, own, _: make(inputs, targets, own, padded)
        return self._everything().take(give, batch_size, indices)

    def accumulate(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        def of_device(inputs: PyTree, targets: PyTree) -> Result:
            part = InMemory(inputs, targets)
            total = part.accumulate(self._within(make, batch_size), batch_size, function)
            return _added(total, self.mesh.axis_names[0])

        return self._on_devices(of_device, PartitionSpec())

    def each(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        def of_device(inputs: PyTree, targets: PyTree) -> Result:
            part = InMemory(inputs, targets)
            return part.each(self._within(make, batch_size), batch_size, function)

        joined = self._on_devices(of_device, PartitionSpec(self.mesh.axis_names[0]))
        return jax.tree.map(lambda x: x[: self.size], joined)

    def some_inputs(self) -> PyTree:
        return self.arrays[0]

    def targets_in_turn(self) -> Iterator[PyTree]:
        yield self.arrays[1]

    def _everything(self) -> InMemory:
        return InMemory(self.padded_inputs, self.padded_targets)

    def _is_padded(self, batch_size: int) -> bool:
        return self.num_batches(batch_size) * batch_size * self.mesh.size != self.size

    def _within(self, make: Make, batch_size: int) -> Make:
        """`make` for the examples of this device, whose indices count from its first one."""
        here, padded = self.at_once, self._is_padded(batch_size)
        device = jax.lax.axis_index(self.mesh.axis_names[0])

        def on_device(
            inputs: PyTree, targets: PyTree, indices: Int[Array, " examples"] | None, _: bool
        ) -> ExampleBatch:
            own = jnp.arange(here) if indices is None else indices
            # Those that fill the batches of a device belong to the next one.
            own = jnp.where(own < here, device * here + own, self.size)
            return make(inputs, targets, own, padded)

        return on_device

    def _on_devices(
        self, of_device: Callable[[PyTree, PyTree], Result], out: PartitionSpec
    ) -> Result:
        axis = PartitionSpec(self.mesh.axis_names[0])
        return jax.shard_map(
            of_device, mesh=self.mesh, in_specs=(axis, axis), out_specs=out, check_vma=False
        )(self.padded_inputs, self.padded_targets)


def _added(tree: Result, axis: str) -> Result:
    """The sum over devices, by one reduction for all arrays of one dtype."""
    leaves, nodes = jax.tree.flatten(tree)
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        own = [n for n, leaf in enumerate(leaves) if leaf.dtype == dtype]
        flat = jnp.concatenate([leaves[n].reshape(-1) for n in own])
        ends = np.cumsum([leaves[n].size for n in own])[:-1].tolist()
        for n, part in zip(own, jnp.split(jax.lax.psum(flat, axis), ends), strict=True):
            leaves[n] = part.reshape(leaves[n].shape)
    return jax.tree.unflatten(nodes, leaves)


def _check_mesh(mesh: Mesh, num_examples: int) -> None:
    if len(mesh.axis_names) != 1:
        raise ValueError(
            f"`mesh` has the axes {mesh.axis_names}, but must have one, over which the examples "
            'are divided: pass `jax.sharding.Mesh(numpy.array(jax.devices()), ("examples",))`.'
        )
    if mesh.size > num_examples:
        raise ValueError(
            f"`mesh` has {mesh.size} devices, but there are {num_examples} examples, and each "
            "device must have at least one: pass a mesh of fewer devices."
        )
    if mesh.is_multi_process:
        raise ValueError(
            f"`mesh` has devices of several processes, {[str(d) for d in mesh.devices.flat]}, but "
            "all must belong to this one: pass a mesh of `jax.local_devices()`."
        )
