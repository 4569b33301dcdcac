"""Parts of one's own that are traced in a moment, for settings such as `tiny_own:Line`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import algorithms, Aux, Chunk, probes, Quantity, tasks


class Line(tasks.AbstractTaskStream):
    """Every task has the same rows. One method may return something else."""

    num_tasks: Any = eqx.field(static=True, default=2)
    chunks_per_task: Any = eqx.field(static=True, default=1)
    minibatches: Any = eqx.field(static=True, default=2)
    wrong: str = eqx.field(static=True, default="")
    other: Any = eqx.field(static=True, default=None)

    def _given(self, method, value):
        return self.other if method == self.wrong else value

    def init(self, *, key):
        return self._given("init", jnp.zeros(3))

    def begin_task(self, state, clock, *, key):
        return self._given("begin_task", state * 0)

    def collect(self, state, learner, clock, *, key):
        return state, self._given("collect", Chunk(jnp.ones((2, 4, 3)))), {}

    def batch(self, state, item):
        return item

    def forward(self, model, model_state, batch, *, key, inference):
        outputs, taps = jax.vmap(model)(batch)
        return outputs, Aux(taps, model_state)

    def criterion(self, outputs, batch):
        loss = jnp.mean((outputs[:, 0] - batch.sum(axis=1)) ** 2)
        return loss, {"loss": loss} if self.wrong == "criterion" else {}

    def sample(self, state, learner, num_examples, split, *, key):
        return jnp.ones((num_examples, 3))

    def evaluate(self, state, learner, *, key):
        if self.wrong == "evaluate":
            raise KeyError("no such row")
        outputs, _ = self.forward(learner.model, None, jnp.ones((1, 3)), key=key, inference=True)
        return {"height": outputs[0, 0], "distance": jnp.abs(outputs[0, 0] - 3)}

    def quantities(self):
        return {"distance": Quantity("distance", better="lower"), "height": Quantity("height")}


class Short(Line):
    """Its `forward` takes too few arguments."""

    def forward(self, model, batch):  # pyright: ignore[reportIncompatibleMethodOverride]
        return jax.vmap(model)(batch)


class Affine(eqx.Module):
    """A network whose constructor takes no key."""

    weight: jax.Array

    def __init__(self, scale: float = 0.5):
        self.weight = jnp.full(3, scale)

    def __call__(self, x):
        return (self.weight * x).sum(keepdims=True), {}


class Weights(probes.AbstractProbe):
    """Records the weights, and says what `declared` says of them."""

    when: tuple[probes.When, ...] = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1)
    case: str = eqx.field(static=True, default="")

    def __call__(self, learner, stream, stream_state, *, key) -> Any:
        odd = {"a key": key, "complex": jnp.asarray(1j)}
        return {"weights": odd.get(self.case, learner.model.weight)}

    def quantities(self):
        cases: dict[str, Any] = {
            "a list": lambda: ["weights"],
            "texts": lambda: {"weights": "my weights"},
            "an entry": lambda: {"weights": Quantity("my weights", reduce=7)},
            "limits": lambda: {"weights": Quantity("my weights", limits=(1.0, 0.0))},
            "a path": lambda: {"weights": Quantity("my weights", figure="../../esc")},
        }
        return cases.get(self.case, dict)()


def tagged(lr: float = 0.1, tag="plain") -> algorithms.Algorithm:
    """An algorithm with an argument of any kind."""
    return algorithms.bp(lr)
