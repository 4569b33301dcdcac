"""How well a network can still learn, measured by training copies of it."""

from typing import Any, get_args, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..._arguments import as_int, check_above, check_count, unknown_name
from ..._base._quantity import Quantity
from ..._carry import branch, strong
from ..._keys import derive, Role
from ..._types import Learner
from ...algorithms import Algorithm, fresh_network, sgd
from ...tasks import AbstractTaskStream, NoFreshTaskError
from .._base._boundary import Boundary
from .._base._branch_probe import AbstractBranchProbe
from .._base._probe import When
from .._base._train import Start, Train
from .._base._unanswered import unanswered
from ._curve_area import area_of, ratio_of
from ._outcome_quantities import outcome_quantities


Outcome = Literal["own", "sgd"]

# The learning rates among which `sgd_lr=None` chooses: 0.001 to 1 in half decades.
_GRID = tuple(10 ** (i / 2) for i in range(-6, 1))


class Trainability(AbstractBranchProbe):
    """Trains copies of the network on tasks that the run will not see, and compares them with fresh
    networks on the same tasks and minibatches.

    A copy takes the first `budget` gradient steps of each of `num_tasks` fresh tasks. Its area is
    the area under its loss curve, divided by the budget: the mean of the losses before each step.
    There are two outcomes, each with the columns

    - `own_excess`, `sgd_excess`: the area minus that of fresh networks. This is the primary number:
        0 for a network that learns like a fresh one, positive for one that learns worse. It does
        not divide by the loss at the start, which would flatter overconfident networks.
    - `own_ratio`, `sgd_ratio`: the area of fresh networks divided by the area. A value of at least
        0.8 means that the network reaches 0.8 of the trainability of fresh ones.
    - `own_area`, `sgd_area`, and `own_fresh_area`, `sgd_fresh_area`: the two areas.

    `own` continues the algorithm of the run, with what it remembers and the state of its optimiser;
    a fresh network starts with this algorithm from scratch. `sgd` is plain SGD for both. Its
    learning rate, `sgd_lr` among the columns, is that of fresh networks with the smallest area.
    Unless it is given, it is searched once per run, among 0.001 to 1 in half decades, on
    `num_tasks` fresh tasks and networks that depend on the key of the run alone. This takes
    7 `num_tasks` branches.

    Where the stream has an `outcome_metric`, as in reinforcement learning, a branch plays rollouts
    of its own and losses cannot be compared. The area is then the mean of minus that return, which
    is evaluated after each chunk (rollout) of the branch, and the ratio is one of returns.

    The area of a branch that diverges is infinite. In a stream without fresh tasks all columns are
    NaN, and the log says why.

    ```python
    measured = {"trainability": probes.Trainability(num_tasks=2, budget=50, every=2)}
    _, history = train_continual(model, stream, algo, probes=measured)
    history["trainability.end.own_excess"]
    ```

    **Arguments:**

    - `num_tasks`: the number of fresh tasks, other ones at each boundary.
    - `budget`: gradient steps in each branch.
    - `num_twins`: the number of fresh networks for each task, whose areas are averaged.
    - `outcomes`: which outcomes to measure; each takes `num_tasks` (1 + `num_twins`) branches.
    - `sgd_lr`: the learning rate of plain SGD; `None` searches it.

    **Raises:** `ValueError` for a number below one, a learning rate that is not positive, and an
    unknown outcome or none; before a run, if `budget` exceeds the steps of a task, or if the stream
    does not evaluate its `outcome_metric`; `TypeError` for a network without `fresh`.
    """

    num_tasks: int = eqx.field(static=True, converter=as_int)
    budget: int = eqx.field(static=True, converter=as_int)
    num_twins: int = eqx.field(static=True, converter=as_int)
    outcomes: tuple[Outcome, ...] = eqx.field(static=True)
    sgd_lr: Float[Array, ""] | None
    when: tuple[When, ...] = eqx.field(static=True)
    every: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        *,
        num_tasks: int = 3,
        budget: int = 100,
        num_twins: int = 2,
        outcomes: tuple[Outcome, ...] = ("own", "sgd"),
        sgd_lr: float | Float[Array, ""] | None = None,
        when: tuple[When, ...] = ("end",),
        every: int = 1,
    ):
        check_count("num_tasks", num_tasks)
        check_count("budget", budget)
        check_count("num_twins", num_twins)
        for outcome in outcomes or ("",):
            if outcome not in get_args(Outcome):
                raise ValueError(unknown_name("`outcomes`: Outcome", outcome, get_args(Outcome)))
        if sgd_lr is not None:
            check_above("sgd_lr", sgd_lr, 0)
        self.num_tasks, self.budget, self.num_twins = num_tasks, budget, num_twins
        self.outcomes = tuple(outcomes)
        self.sgd_lr = None if sgd_lr is None else jnp.asarray(sgd_lr, dtype=float)
        self.when, self.every = when, every

    def __call__(
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        train: Train,
        boundary: Boundary,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        def areas(index: Int[Array, ""]) -> dict[str, Float[Array, " networks"]]:
            task_key = boundary.task_key(index)
            return {
                outcome: self._areas(outcome, learner, stream, stream_state, train, task_key)
                for outcome in self.outcomes
            }

        try:
            found = jax.lax.map(areas, jnp.arange(self.num_tasks))
        except NoFreshTaskError as error:
            columns = dict.fromkeys(self._columns(), ())
            return unanswered(self, str(error).removesuffix("."), columns)
        row = {"sgd_lr": train.calibration} if "sgd" in self.outcomes else {}
        for outcome, costs in found.items():
            area, fresh = jnp.mean(costs[:, 0]), jnp.mean(costs[:, 1:])
            row |= {
                f"{outcome}_excess": area - fresh,
                f"{outcome}_ratio": ratio_of(area, fresh),
                f"{outcome}_area": area,
                f"{outcome}_fresh_area": fresh,
            }
        return row

    def calibrate(
        self, learner: Learner, stream: AbstractTaskStream, train: Train, *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """Returns the learning rate of plain SGD."""
        if self.sgd_lr is not None or "sgd" not in self.outcomes:
            return jnp.asarray(jnp.nan if self.sgd_lr is None else self.sgd_lr, float)
        state = stream.init(key=derive(key, Role.INIT_STREAM))
        grid = jnp.asarray(_GRID, float)

        def area(index: Int[Array, ""]) -> Float[Array, ""]:
            task_key = derive(key, Role.BRANCH, index % self.num_tasks)
            algorithm = Algorithm(sgd(grid[index // self.num_tasks]))
            start = self._twin(learner, train, algorithm, task_key)
            return self._area(start, algorithm, stream, state, train, task_key)

        try:
            areas = jax.lax.map(area, jnp.arange(len(grid) * self.num_tasks))
        except NoFreshTaskError:  # which the measurement reports
            return jnp.asarray(jnp.nan, float)
        return grid[jnp.argmin(jnp.mean(areas.reshape(len(grid), -1), axis=1))]

    def quantities(self) -> dict[str, Quantity]:
        found: dict[str, Quantity] = {}
        for outcome in self.outcomes:
            found |= outcome_quantities(outcome)
        return found

    def _columns(self) -> tuple[str, ...]:
        return (*self.quantities(), *(("sgd_lr",) if "sgd" in self.outcomes else ()))

    def _areas(
        self,
        outcome: Outcome,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        train: Train,
        task_key: PRNGKeyArray,
    ) -> Float[Array, " networks"]:
        """The area of the network, then those of its fresh twins, on one task."""
        if outcome == "own":
            algorithm, present = train.algorithm, train.continuing(learner)
        else:
            algorithm = Algorithm(sgd(train.calibration))
            own = learner.model, learner.model_state
            present = train.from_scratch(algorithm, *own, key=task_key)

        def area(index: Int[Array, ""]) -> Float[Array, ""]:
            twin = self._twin(learner, train, algorithm, derive(task_key, Role.BRANCH, index))
            start = branch(index == 0, lambda _: strong(present), strong(twin))
            return self._area(start, algorithm, stream, stream_state, train, task_key)

        # One program trains the network and its twins.
        return jax.lax.map(area, jnp.arange(1 + self.num_twins))

    def _twin(
        self, learner: Learner, train: Train, algorithm: Algorithm, key: PRNGKeyArray
    ) -> Start:
        """A fresh network, and the algorithm from scratch."""
        network = fresh_network(learner.model, learner.model_state, key=key)
        return train.from_scratch(algorithm, *network, key=derive(key, Role.INIT_ALGORITHM))

    def _area(
        self,
        start: Start,
        algorithm: Algorithm,
        stream: AbstractTaskStream,
        stream_state: Any,
        train: Train,
        task_key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        task = train.fresh_task(stream_state, key=task_key)
        evaluate = stream.outcome_metric is not None
        trained = train(
            start, task, self.budget, algorithm=algorithm, evaluate=evaluate, key=task_key
        )
        return area_of(trained, stream)
