"""Every public function of a risk checks its labels, and that examples do not depend on others."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import curvature, theory
from spectral.curvature import Risk, SoftmaxCrossEntropy, SquaredError


INPUTS = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
PARAMS = jnp.ones((4, 3))
OPTIONS = {
    "trainability_forecast": {"lr": 0.1, "steps": 5, "target": 0.1},
    "noisy_one_step_gain": {"minibatch_size": 2, "num_samples": 2, "key": jax.random.key(0)},
    "cross_entropy_conditions": {"lr": 0.1, "steps": 5, "target": 0.1},
    "residual_norm": {"key": jax.random.key(0)},
    "output_curvature": {"key": jax.random.key(0)},
}
FUNCTIONS = {
    name: found
    for room in (curvature, theory)
    for name, found in vars(room).items()
    if callable(found) and "risk" in inspect.signature(found).parameters
}
# These take any loss, under another name.
OTHERS = {
    "Hessian": lambda risk, params: curvature.Hessian(risk, params),
    "loss_landscape": lambda risk, params: curvature.loss_landscape(
        risk, params, [params], jnp.linspace(-1, 1, 3)
    ),
}


def outputs(params, inputs):
    return inputs @ params


def centred(params, inputs):
    return inputs @ params - jnp.mean(inputs @ params, axis=0, keepdims=True)


def test_they_were_found():
    known = {"GaussNewton", "Gram", "jacobian", "kfac_error", "class_split", *OPTIONS}
    assert known <= FUNCTIONS.keys()


@pytest.mark.parametrize("name", [*FUNCTIONS, *OTHERS])
def test_every_function_of_a_risk_checks_it(name):
    function = (FUNCTIONS | OTHERS)[name]
    labels = Risk(outputs, SoftmaxCrossEntropy(), INPUTS, np.array([0, 1, 2, 3, 0, 1, 2, 0]))
    with pytest.raises(ValueError, match="labels"):
        function(labels, PARAMS, **OPTIONS.get(name, {}))
    loss = SoftmaxCrossEntropy() if name == "class_split" else SquaredError()
    targets = np.zeros(8, int) if name == "class_split" else np.zeros((8, 3), np.float32)
    dependent = Risk(centred, loss, INPUTS, targets, batch_size=4)
    with pytest.raises(ValueError, match="depend on the other examples"):
        function(dependent, PARAMS, **OPTIONS.get(name, {}))
