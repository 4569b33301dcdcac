"""Networks that see the batch in inference mode, in `train_continual`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import growing

from spectral import algorithms, Ensemble, Learner, train_continual
from spectral._check_parts import check_parts


class Centred(eqx.Module):
    """Always normalised over the batch, by hand."""

    inner: Any

    def __call__(self, x, state):
        (outputs, taps), state = self.inner(x, state)
        return (outputs - jax.lax.pmean(outputs, "batch"), taps), state


def parts(kind) -> tuple[Any, dict[str, Any]]:
    setting, algo = growing(), algorithms.bp(0.1)
    model, model_state = Centred(setting.model), setting.model_state
    if kind == "ensemble":
        stack = lambda x: jnp.stack([x, x]) if eqx.is_array(x) else x
        stacked = [Ensemble(jax.tree.map(stack, part)) for part in (model, model_state)]
        return (stacked[0], setting.stream, algo), {"model_state": stacked[1]}
    if kind == "learner":
        learner = Learner(model, model_state, algo.optimiser.init(model))
        return (learner, setting.stream, algo), {}
    return (model, setting.stream, algo), {"model_state": model_state}


SLOW = pytest.param("ensemble", marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", ["network", "learner", SLOW])
def test_they_are_rejected_before_compilation(kind):
    arguments, options = parts(kind)
    with pytest.raises(ValueError, match=r"depend on the other .*`batch_dependent=True`"):
        train_continual(*arguments, **options)


def test_those_who_mean_it():
    arguments, options = parts("network")
    assert check_parts(*arguments, **options, batch_dependent=True)
    setting = growing()  # uses its running statistics
    assert check_parts(setting.model, *arguments[1:], **options)


@pytest.mark.slow
def test_they_are_trained():
    arguments, options = parts("network")
    _, history = train_continual(*arguments, **options, batch_dependent=True)
    assert np.isfinite(history["loss"]).all()
    assert len(history["loss"]) == arguments[1].num_tasks
