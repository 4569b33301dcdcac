"""Full and low-rank initial kernels, in a network that is linear in its parameters and in one that
is not.

    python examples/linearised_network.py [--small] [--data-dir FOLDER]

A network of one hidden layer learns one permutation of the digits (with --data-dir, of MNIST) after
another by gradient descent on half the squared error, with all images in each step. `FrozenGates`
is linear in its weights, so its kernel is constant within a task and `theory.descent_conditions`
gives the loss at the end of a task exactly, from the spectrum at its start. For `MLP`, whose gates
switch, it is a forecast. Both start from weights of full rank, from the same weights truncated to
rank 10 at equal norm, and from weights of which 90 % lie in one direction.

`docs/theory.md` has the results.
"""

import argparse
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spectral import models, tasks, theory
from spectral.curvature import Risk, SquaredError


Data = tuple[jax.Array, jax.Array]
INITIAL = {
    "full": models.KaimingUniform(),
    "rank 10": models.LowRank(rank=10),
    "90 % rank one": models.RankOneMixture(fraction=0.9),
}
LR = 0.1


def data_of(images: tasks.ImageSet, split: tasks.Split, rows: int) -> Data:
    """Inputs with a mean squared norm of 1, and one-hot labels around 0."""
    pixels, labels = (np.asarray(part[:rows]) for part in images.part(split))
    inputs = pixels.reshape(len(pixels), -1) / images.max_value
    inputs = inputs / np.sqrt(np.mean(np.sum(inputs**2, axis=1)))
    targets = np.eye(images.num_classes)[labels] - 1 / images.num_classes
    return jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32)


def outputs_of(model: Any, inputs: jax.Array) -> jax.Array:
    return jax.vmap(model)(inputs)[0]


@eqx.filter_jit
def trained(model: eqx.Module, inputs: jax.Array, targets: jax.Array, steps: Any) -> Any:
    params, static = eqx.partition(model, eqx.is_inexact_array)
    risk = Risk(lambda p, x: outputs_of(eqx.combine(p, static), x), SquaredError(), inputs, targets)
    step = lambda _, p: jax.tree.map(lambda a, g: a - LR * g, p, jax.grad(risk)(p))
    return eqx.combine(jax.lax.fori_loop(0, steps, step, params), static)


@eqx.filter_jit
def score(model: eqx.Module, inputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Half the squared error, and the fraction of images classified correctly."""
    outputs = outputs_of(model, inputs)
    right = jnp.argmax(outputs, axis=1) == jnp.argmax(targets, axis=1)
    return jnp.mean(jnp.sum((outputs - targets) ** 2, axis=1)) / 2, jnp.mean(right)


def run(model: eqx.Module, train: Data, test: Data, num_tasks: int, steps: int) -> np.ndarray:
    """For each task: the normalised eps-rank at its start, the loss that the conditions give, the
    loss that training reached, and the test accuracy."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(num_tasks):
        order = rng.permutation(train[0].shape[1])
        inputs, targets = train[0][:, order], train[1]
        risk = Risk(outputs_of, SquaredError(), inputs, targets)
        spectrum = theory.residual_spectrum(risk, model)
        values, energies = np.asarray(spectrum.eigenvalues), np.asarray(spectrum.energies)
        found = theory.descent_conditions(values, energies, lr=LR, steps=steps, target=0.1)
        rank = np.mean((values >= found.epsilon) & (values <= found.upper))
        model = trained(model, inputs, targets, jnp.asarray(steps))
        loss, _ = score(model, inputs, targets)
        _, accuracy = score(model, test[0][:, order], test[1])
        rows.append([rank, found.loss, loss, accuracy])
    return np.array(rows, np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few images and steps")
    parser.add_argument("--data-dir", help="the folder of MNIST, in the place of the digits")
    given = parser.parse_args()
    if given.data_dir is None:
        images = tasks.load_images("digits")
    else:
        images = tasks.load_images("mnist", data_dir=given.data_dir)
    num, width, num_tasks, steps, seeds = (
        (10, 8, 2, 20, 1) if given.small else (100, 200, 5, 1000, 3)
    )
    train, test = data_of(images, "train", num), data_of(images, "held_out", 5 * num)
    networks: dict[str, Callable[..., eqx.Module]] = {
        "FrozenGates": models.FrozenGates,
        "MLP": lambda *sizes, **options: models.MLP(*sizes, depth=1, **options),
    }
    low, high = theory.budget_epsilon(LR, steps)
    print(f"{images.name}: {num} images, width {width}, {steps} steps, medians of {seeds} seeds.")
    print(f"A direction halves if its eigenvalue is from {low:.2g} to {high:.2g}.")
    print(
        f"{'network':12} {'initial':14} {'task':>4} {'rank':>6} {'theory':>8} {'loss':>8} accuracy"
    )
    for network, make in networks.items():
        for initial, initialiser in INITIAL.items():
            options = {"width": width, "initialiser": initialiser}
            size = (train[0].shape[1], images.num_classes)
            draw = eqx.filter_jit(lambda key, o=options, m=make, s=size: m(*s, **o, key=key))
            runs = [draw(jax.random.key(seed)) for seed in range(seeds)]
            found = np.median([run(m, train, test, num_tasks, steps) for m in runs], axis=0)
            for task in (0, num_tasks - 1):
                rank, expected, loss, accuracy = found[task]
                numbers = f"{rank:6.3f} {expected:8.4f} {loss:8.4f} {accuracy:8.3f}"
                print(f"{network:12} {initial:14} {task + 1:4d} {numbers}")


if __name__ == "__main__":
    main()
