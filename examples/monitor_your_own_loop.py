"""A plain optax loop that monitors its own spectrum, with only `spectral.curvature`.

    python examples/monitor_your_own_loop.py [--small]

The parameters are a dictionary here. The parameters of Flax or an Equinox network work in the same
way.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from spectral.curvature import Lanczos, normalised_epsilon_rank, spectrum_of, trace


def loss(params, batch):
    images, labels = batch
    hidden = jax.nn.relu(images @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"] + params["b2"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def main() -> None:
    width, steps, every = (4, 20, 10) if "--small" in sys.argv else (64, 2000, 250)

    images, labels = load_digits(return_X_y=True)
    images = images / 16
    watched = images[:500], labels[:500]
    first, second, key = jax.random.split(jax.random.key(0), 3)
    params = {
        "w1": jax.random.normal(first, (64, width)) * (2 / 64) ** 0.5,
        "b1": jnp.zeros(width),
        "w2": jax.random.normal(second, (width, 10)) * (2 / width) ** 0.5,
        "b2": jnp.zeros(10),
    }
    estimator, rng = Lanczos(order=40, num_vectors=4), np.random.default_rng(0)
    optimiser, gradient = optax.adam(1e-3), jax.jit(jax.value_and_grad(loss))
    state = optimiser.init(params)

    print("  step    loss  fraction > 0.1  bracket           largest         trace")
    for step in range(steps + 1):
        rows = rng.choice(len(labels), 64)
        value, grads = gradient(params, (images[rows], labels[rows]))
        if step % every == 0:
            # Data and random vectors do not change, so the spectra differ only by the network.
            spectrum = spectrum_of(loss, params, watched, estimator=estimator, key=key)
            rank, total = normalised_epsilon_rank(spectrum, 0.1), trace(spectrum)
            line = f"{step:6} {value:7.3f} {rank.value:12.3f}  [{rank.lower:.3f}, {rank.upper:.3f}]"
            print(f"{line} {spectrum.range()[1]:10.2f}  {total.value:6.1f} +- {total.sem:.1f}")
        updates, state = optimiser.update(grads, state, params)
        params = optax.apply_updates(params, updates)


if __name__ == "__main__":
    main()
