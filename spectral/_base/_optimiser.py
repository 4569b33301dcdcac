"""An optax optimiser whose numbers are data."""

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._arguments import check_representable
from .._carry import narrowed
from ._per_entry import check_per_entry
from ._precision import in_single
from ._readable import readable
from ._schedule import AbstractLearningRateSchedule


# Marks optimiser state that all entries share.
_SHARED = np.False_


class Optimiser(eqx.Module):
    """An optax optimiser with its hyperparameters as arrays and a state that can be reset in part.

    ```python
    optimiser = Optimiser(optax.sgd, learning_rate=0.01, momentum=0.9)
    optimiser = optimiser.init(model)
    model, optimiser = optimiser.apply(grads, model)
    ```

    Numbers become arrays in `hyper`, so a sweep over them does not recompile. These are all
    floating-point arguments, and integers where the signature of `make` asks for a float, as in
    `learning_rate=1`. All other arguments are part of the program: `nesterov=True`, texts, and
    integers that are sizes, such as `min_dim_size_to_factor` of `optax.adafactor`.

    A number may follow a schedule of `spectral.algorithms`, whose own numbers are data as well:
    `learning_rate=WarmupCosine(...)`. `hyper` then holds its present value, which `scheduled` sets.
    The loop calls `scheduled` before every step.

    Functions are part of the program and compared by identity. `make` must therefore be a function
    that outlives the call, such as `optax.adam` or a chain defined at the top of a module. A
    schedule of optax, such as `learning_rate=optax.cosine_decay_schedule(0.1, 1000)`, works, but
    each one is a new function and compiles again. optax counts its steps from the first, or from
    the last reset of the optimiser.

    A finished transformation is taken as it is: `Optimiser(optax.adam(1e-3))`. Its numbers are
    constants of the program. Two equal calls of `optax.adam(1e-3)` are two different functions to
    JAX: each compiles again, and they cannot be members of one `Ensemble`. A checkpoint compares
    the numbers, so a run can resume with an equal call in another process.

    For weights in bfloat16 or float16 the state (momenta, second moments) is in float32.

    **Raises:** `TypeError` if `make` is neither a function nor a transformation, if its arguments
    do not fit its signature, or if a number is a Boolean; `ValueError` for arguments beside a
    transformation, or for a number that is not 0 but would become 0 in the precision of JAX.
    """

    make: Callable[..., optax.GradientTransformation] | optax.GradientTransformation = eqx.field(
        static=True
    )
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)
    hyper: dict[str, Float[Array, "..."]]
    schedules: dict[str, AbstractLearningRateSchedule]
    state: PyTree

    __repr__ = readable

    def __init__(
        self,
        make: Callable[..., optax.GradientTransformation] | optax.GradientTransformation,
        /,
        **arguments: Any,
    ):
        if isinstance(make, optax.GradientTransformation) and arguments:
            raise ValueError(
                f"`make` is a finished transformation, but has the arguments {sorted(arguments)}, "
                "which only a function can take: pass for example "
                "`Optimiser(optax.adam, learning_rate=1e-3)`."
            )
        if not isinstance(make, optax.GradientTransformation) and not callable(make):
            raise TypeError(
                f"`make` is {make!r}, but must be a function that returns an optax transformation, "
                "or a transformation: pass for example `Optimiser(optax.adam, learning_rate=1e-3)`."
            )
        _check_arguments(make, arguments)
        schedules = {
            k: v for k, v in arguments.items() if isinstance(v, AbstractLearningRateSchedule)
        }
        first = {k: schedule(jnp.asarray(0, int)) for k, schedule in schedules.items()}
        numeric = {k: v for k, v in arguments.items() if _is_number(make, k, v)} | first
        self.make = make
        self.options = tuple(sorted((k, v) for k, v in arguments.items() if k not in numeric))
        for name, value in numeric.items():
            check_representable(name, value)
        # A weakly typed array would change its type in the first step.
        self.hyper = {k: jnp.asarray(v, dtype=float) for k, v in numeric.items()}
        self.schedules = schedules
        self.state = None

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation with the current hyperparameters."""
        if isinstance(self.make, optax.GradientTransformation):
            return self.make
        return self.make(**self.hyper, **dict(self.options))

    def scheduled(self, step: Int[Array, ""], step_in_task: Int[Array, ""]) -> "Optimiser":
        """This optimiser with the numbers that follow a schedule set for this step.

        **Arguments:**

        - `step`: steps since the start of the run.
        - `step_in_task`: steps since the start of the task, for schedules with `restart="task"`.

        ```python
        warmed = Optimiser(optax.sgd, learning_rate=Constant(0.1, warmup_steps=10))
        warmed.scheduled(jnp.asarray(5), jnp.asarray(5)).hyper["learning_rate"]  # 0.05
        ```
        """
        hyper = dict(self.hyper)
        for name, schedule in self.schedules.items():
            count = step_in_task if schedule.restart == "task" else step
            hyper[name] = jnp.asarray(schedule(count), hyper[name].dtype)
        return eqx.tree_at(lambda o: o.hyper, self, hyper) if self.schedules else self

    def init(self, model: PyTree) -> "Optimiser":
        """This optimiser with freshly initialised state for the parameters of `model`."""
        state = self.transformation.init(in_single(eqx.filter(model, eqx.is_inexact_array)))
        return eqx.tree_at(lambda o: o.state, self, state, is_leaf=lambda x: x is None)

    def apply(
        self,
        grads: PyTree,
        model: PyTree,
        *,
        value: Float[Array, ""] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[PyTree, "Optimiser"]:
        """Take one step with the gradient `grads`. Returns the new model and the new optimiser.

        **Arguments:**

        - `value`: the loss whose gradient is `grads`, for transformations that need it, such as
          `optax.contrib.reduce_on_plateau`. The loop passes criterion plus penalties.
        - `key`: for transformations that draw random numbers, such as
          `spectral.algorithms.perturbed_sgd`.

        Both are passed on as the extra arguments of optax that have these names.

        The step is computed in float32 at least, and weights and state keep their types.
        """
        params = eqx.filter(model, eqx.is_inexact_array)
        wide = in_single(params)
        transformation = optax.with_extra_args_support(self.transformation)
        updates, state = transformation.update(
            in_single(grads), self.state, wide, value=value, key=key
        )
        # The numbers in `hyper` may be wider than the weights, and so are the products with them.
        moved = narrowed(eqx.apply_updates(wide, updates), params)
        state = narrowed(state, self.state)
        return eqx.combine(moved, model), eqx.tree_at(lambda o: o.state, self, state)

    def forget(self, fresh: PyTree[Bool[Array, "..."]], model: PyTree) -> "Optimiser":
        """Reset the state of the entries marked in `fresh` to its initial value.

        **Arguments:**

        - `fresh`: Booleans with the shapes and the structure of the parameters.
        - `model`: the model whose weights the marked entries start from.

        Resets everything that optax keeps per parameter: momenta, second moments, copies of the
        weights. State that all entries share, such as the single step count of `optax.adam`, is
        kept. `spectral.algorithms.adam` counts the steps of every entry, so under it a marked entry
        continues exactly like one that has never been trained.

        **Raises:** `ValueError` for an optimiser that keeps its state in other shapes than those of
        the parameters, such as `optax.adafactor`, `optax.sm3` or `optax.novograd`. A run raises it
        before anything is trained.
        """
        return self.rewrite(lambda now, first, m: jnp.where(m, first, now), model, fresh)

    def rewrite(self, change: Callable[..., Array], model: PyTree, *trees: PyTree) -> "Optimiser":
        """Change the state that is kept per parameter of `model`. State that all entries share is
        left as it is.

        **Arguments:**

        - `change`: called as `change(now, first, *of_trees)` for each array that optax keeps in the
          shape of a parameter; returns the new array. `now` is the current array and `first` is its
          value before the first step of `model`.
        - `trees`: trees with the structure of the parameters. `of_trees` are their nodes, arrays or
          whole subtrees, at the position of the parameter.

        ```python
        params = eqx.filter(model, eqx.is_inexact_array)
        optimiser.rewrite(lambda now, first: now / 2, params)  # halves all momenta
        ```

        **Raises:** `ValueError` as `forget`.
        """
        transformation = self.transformation
        params = in_single(eqx.filter(model, eqx.is_inexact_array))
        check_per_entry(self.make, transformation, self.state, params)
        initial = transformation.init(params)
        others = optax.tree_utils.tree_map_params(
            transformation,
            lambda s, *own: s if isinstance(s, optax.MaskedNode) else own,
            self.state,
            *trees,
            transform_non_params=lambda _: _SHARED,
            is_leaf=lambda s: isinstance(s, optax.MaskedNode),
        )
        state = jax.tree.map(
            lambda s, i, own: s if own is _SHARED else change(s, i.astype(s.dtype), *own),
            self.state,
            initial,
            others,
        )
        return eqx.tree_at(lambda o: o.state, self, state)


def _check_arguments(make: Any, arguments: dict[str, Any]) -> None:
    if isinstance(make, optax.GradientTransformation):
        return
    for name, value in arguments.items():
        if isinstance(value, bool | np.bool_) and _is_number_by_annotation(make, name):
            raise TypeError(f"`{name}` is {value}, but must be a number: pass for example 0.1.")
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        name = getattr(make, "__name__", type(make).__name__)
        raise TypeError(
            f"`make` is the function `{name}` with the arguments {sorted(arguments)}, but {error}: "
            f"pass those of its signature, {', '.join(signature.parameters)}."
        ) from error


def _is_number(make: Any, name: str, value: Any) -> bool:
    """Whether the argument is data: a floating-point number, or an integer in the place of one."""
    if isinstance(value, bool | np.bool_):
        return False
    dtype = getattr(value, "dtype", None)
    if isinstance(value, float) or (dtype is not None and jnp.issubdtype(dtype, jnp.inexact)):
        return True
    integer = isinstance(value, int) or (dtype is not None and jnp.issubdtype(dtype, jnp.integer))
    return integer and _takes_float(make, name)


def _takes_float(make: Any, name: str) -> bool:
    parameter = _parameter(make, name)
    if parameter is None or isinstance(parameter.default, int):
        # The annotation of optax's sizes often allows all numbers, but their default is an integer.
        return False
    return float in _allowed(parameter) or isinstance(parameter.default, float)


def _is_number_by_annotation(make: Any, name: str) -> bool:
    parameter = _parameter(make, name)
    allowed = () if parameter is None else _allowed(parameter)
    return float in allowed and bool not in allowed


def _parameter(make: Any, name: str) -> inspect.Parameter | None:
    try:
        return inspect.signature(make, eval_str=True).parameters.get(name)
    except (NameError, TypeError, ValueError):  # annotations that cannot be read
        return None


def _allowed(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """The types in the annotation of a parameter."""
    union = typing.get_origin(parameter.annotation) in (typing.Union, types.UnionType)
    return typing.get_args(parameter.annotation) if union else (parameter.annotation,)
