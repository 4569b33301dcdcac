"""The random vectors of an estimator, divided over the devices of a mesh."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from ..operators._operator import AbstractOperator
from ..risk.examples._examples import AbstractExamples
from ..risk.examples._in_memory import InMemory


Result = TypeVar("Result")


def over_vectors(
    run: Callable[[Any], Result], vectors: Array, operator: AbstractOperator, mesh: Mesh | None
) -> Result:
    """`run(vectors[i])` for all i, one after the other on each device of the mesh; without a mesh
    on one device. Each device holds the whole matrix, and the devices do not communicate.

    **Raises:** `ValueError` if there is a mesh and the operator has examples that are not in the
    memory of each device.
    """
    if mesh is None:
        return jax.lax.map(run, vectors)
    _check_in_memory(operator)
    missing = -vectors.shape[0] % mesh.size
    filled = jnp.concatenate([vectors, vectors[:missing]])
    axis = PartitionSpec(mesh.axis_names[0])
    made = jax.shard_map(
        lambda own: jax.lax.map(run, own), mesh=mesh, in_specs=axis, out_specs=axis, check_vma=False
    )(filled)
    return jax.tree.map(lambda x: x[: vectors.shape[0]], made)


def check_vector_mesh(mesh: Mesh | None, name: str, count: int) -> None:
    """**Raises:** `ValueError` if the mesh has several axes, or more devices than vectors."""
    if mesh is None:
        return
    if len(mesh.axis_names) != 1:
        raise ValueError(
            f"`mesh` has the axes {mesh.axis_names}, but must have one, over which the vectors are "
            'divided: pass `jax.sharding.Mesh(numpy.array(jax.devices()), ("vectors",))`.'
        )
    if mesh.size > count:
        raise ValueError(
            f"`mesh` has {mesh.size} devices, but `{name}` is {count}, and each device must have "
            "at least one vector: pass a mesh of fewer devices, or more vectors."
        )


def _check_in_memory(operator: AbstractOperator) -> None:
    is_examples = lambda node: isinstance(node, AbstractExamples)
    for node in jax.tree.leaves(operator, is_leaf=is_examples):
        if is_examples(node) and not isinstance(node, InMemory):
            raise ValueError(
                f"`mesh` is given, but the matrix belongs to a `Risk` of `{type(node).__name__}`, "
                "and every device must hold all examples to take its own vectors: leave `mesh` "
                "out, or pass arrays to the `Risk`."
            )
