"""What the loop would tell a transform, made by hand for one minibatch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from spectral import Clock, Learner, Optimiser, Signal
from spectral._types import Aux, Chunk


def learner_of(model, optimiser=None, model_state=None):
    optimiser = Optimiser(optax.sgd, learning_rate=0.1) if optimiser is None else optimiser
    return Learner(model, model_state, optimiser.init(model))


def forward(model, model_state, batch, *, key, inference):
    outputs, taps = jax.vmap(model)(batch)
    return outputs, Aux(taps, model_state)


def squares(outputs, batch):
    return jnp.mean(jnp.sum(outputs**2, axis=-1)), {}


def clock_at(step, task=0):
    return Clock(*map(jnp.asarray, (step, step, 0, task)))


def signal_at(model, inputs, step=0, taps=None):
    """The signal after `step` of a chunk: `inputs` is [minibatches, examples, ...]."""
    if taps is None:
        taps = forward(model, None, inputs[step], key=None, inference=False)[1].taps
    return Signal(
        clock=clock_at(step),
        batch=inputs[step],
        loss=jnp.asarray(0.0),
        taps=taps,
        grads=jax.tree.map(jnp.zeros_like, eqx.filter(model, eqx.is_inexact_array)),
        chunk=Chunk(inputs),
        take=lambda items: items,
        forward=forward,
        criterion=squares,
    )


def arrays(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
