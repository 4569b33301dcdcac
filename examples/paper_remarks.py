"""Remarks of the paper that come without a proof, each tried on a small experiment.

    python examples/paper_remarks.py [--small]

- Remark 6.6: how the probability that a unit stays dead depends on the sample size, and how loose
  the bound of Theorem 6.5 is near its hypothesis.
- Figure 2: is a normalised eps-rank of 0.5 necessary for an accuracy of 80 %?
- Appendix E: do dead units fall because the network changes, or because they are counted on more
  classes?

The tests have the remarks that one case decides. `docs/theory.md` has all results.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from spectral import theory
from spectral.curvature import Hessian, Risk, SoftmaxCrossEntropy
from spectral.models import MLP
from spectral.tasks import load_images


LOSS = SoftmaxCrossEntropy()


def persistence(draws: int) -> None:
    """Two sets of N points, uniform on the interval from -1 to 1, and a radius of 0.1."""
    rng = np.random.default_rng(0)
    print(f"Remark 6.6: probability that the shift is at most 0.1, {draws} draws")
    for num_examples in (1, 2, 5, 10, 30, 100):
        stay = 0
        for _ in range(draws):
            old, new = rng.uniform(-1, 1, size=(2, num_examples, 1))
            stay += theory.directed_hausdorff(new, old) <= 0.1
        p = theory.proportion(stay, draws)
        print(f"  N = {num_examples:3d}: {p.value:.3f} [{p.lower:.3f}, {p.upper:.3f}]")


def tightness() -> None:
    """20 independent indicators with probability 1/2, so E[S] is 10."""
    print("\nRemark 6.6: Cantelli's bound and the exact Pr(S <= m), E[S] = 10")
    for most in (1, 3, 5, 7, 9):
        bound = theory.cantelli_independent(np.full(20, 0.5), most, num_units=20)
        truth = scipy.stats.binom.cdf(most, 20, 0.5)
        print(f"  E[S] - m = {10 - most}: {bound:.3f} against {truth:.3f}")


def outputs_of(model: MLP, inputs: jax.Array) -> jax.Array:
    return jax.vmap(model)(inputs)[0]


@eqx.filter_jit
def trained(model: MLP, inputs: jax.Array, labels: jax.Array, steps: int) -> MLP:
    params, static = eqx.partition(model, eqx.is_inexact_array)
    risk = Risk(lambda p, x: outputs_of(eqx.combine(p, static), x), LOSS, inputs, labels)
    step = lambda _, p: jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(risk)(p))
    return eqx.combine(jax.lax.fori_loop(0, steps, step, params), static)


def digits(num_classes: int, split: str) -> tuple[jax.Array, jax.Array]:
    images = load_images("digits")
    pixels, labels = getattr(images, f"{split}_images"), getattr(images, f"{split}_labels")
    own = np.flatnonzero(np.asarray(labels) < num_classes)
    inputs = np.asarray(pixels)[own].reshape(len(own), -1) / images.max_value
    return jnp.asarray(inputs, jnp.float32), jnp.asarray(np.asarray(labels)[own])


def figure_2(width: int, steps: int) -> tuple[MLP, MLP]:
    """The eps-rank of a new network on two classes, and the accuracy that it reaches.

    Returns the network before and after the training.
    """
    inputs, labels = digits(2, "train")
    # Compiled as one program, and not number by number.
    model = eqx.filter_jit(lambda key: MLP(64, 2, width=width, depth=1, key=key))(jax.random.key(0))
    hessian = Hessian(Risk(outputs_of, LOSS, inputs, labels), model)
    values = np.linalg.eigvalsh(eqx.filter_jit(lambda h: h.dense())(hessian))
    rank = np.mean(np.abs(values) > 0.1)
    after = trained(model, inputs, labels, steps)
    test_inputs, test_labels = digits(2, "test")
    scores = hidden(after, test_inputs) @ np.asarray(after.layers[1].weight).T
    guesses = (scores + np.asarray(after.layers[1].bias)).argmax(axis=1)
    accuracy = float(np.mean(guesses == np.asarray(test_labels)))
    print("\nFigure 2: two classes of digits, at the start of the task")
    print(f"  normalised eps-rank at 0.1: {rank:.4f}")
    print(f"  test accuracy after {steps} steps: {accuracy:.3f}")
    return model, after


def hidden(model: MLP, inputs: jax.Array) -> np.ndarray:
    first = model.layers[0]
    return np.maximum(np.asarray(inputs) @ np.asarray(first.weight).T + np.asarray(first.bias), 0)


def appendix_e(fresh: MLP, after: MLP) -> None:
    """A network that was trained on two classes and then left alone, counted on more classes."""
    inputs, labels = digits(10, "test")
    print("\nAppendix E: dead units, counted on the test images of the first 2, 4, ..., 10 classes")
    for name, model in {"trained on two": after, "fresh": fresh}.items():
        silent = hidden(model, inputs) == 0
        own = [np.asarray(labels) < num_classes for num_classes in range(2, 11, 2)]
        counts = [int(np.sum(np.all(silent[rows], axis=0))) for rows in own]
        print(f"  {name:15s}{counts} of {silent.shape[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Tries remarks of the paper.")
    parser.add_argument("--small", action="store_true", help="few draws, as a test")
    small = parser.parse_args().small
    persistence(20 if small else 10_000)
    tightness()
    appendix_e(*figure_2(2 if small else 32, 2 if small else 300))


if __name__ == "__main__":
    main()
