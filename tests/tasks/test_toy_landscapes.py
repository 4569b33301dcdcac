"""The toy landscapes against the formulas of the paper's Appendix C, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, models, tasks, train_continual
from spectral.tasks import in_bowl, landscape


def expected(x, y, task):
    if task == 0:
        canyon, width = 6 * (x + 1) ** 2 + 0.02 * y**6, 0.13
        bowl = 2 * (x - 0.8) ** 2 + 6 * (y - 0.25) ** 2
    else:
        cosine, sine = np.cos(np.deg2rad(35)), np.sin(np.deg2rad(35))
        turn = np.array([[cosine, sine], [-sine, cosine]])
        u, v = turn @ np.array([x + 4.1, y - 2.0])
        canyon, width = 10 * u**2 + 1e-4 * v**6 + 1e-6 * v**2, 0.18
        bowl = 5 * (x - 1.8) ** 2 + 9 * (y + 0.6) ** 2
    low = min(canyon, bowl)
    blend = low - width * np.log(np.exp((low - canyon) / width) + np.exp((low - bowl) / width))
    return blend, bowl < canyon


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("task", [0, 1])
def test_landscapes_follow_their_formulas(task):
    rng = np.random.default_rng(task)
    sides = set()
    for position in rng.uniform(-5, 3, (50, 2)):
        value, bowl = expected(position[0], position[1], task)
        np.testing.assert_allclose(landscape(jnp.asarray(position), task), value, rtol=1e-6)
        assert bool(in_bowl(jnp.asarray(position), task)) == bowl
        sides.add(bool(bowl))
    assert sides == {True, False}


def test_gradient_descent_in_the_loop():
    start, lr = jnp.array([0.3, 0.8]), 0.02
    stream = tasks.ToyLandscapes(steps_per_task=5)
    learner, history = train_continual(models.Point(start), stream, algorithms.bp(lr))
    position, path, losses = start, [], []
    for task in range(2):
        for _ in range(5):
            path.append(position)
            losses.append(landscape(position, task))
            position = position - lr * jax.grad(landscape)(position, task)
    np.testing.assert_allclose(history["position"].reshape(10, 2), np.stack(path), rtol=1e-5)
    np.testing.assert_allclose(history["loss"].ravel(), np.stack(losses), rtol=1e-5)
    np.testing.assert_allclose(history["final_position"][1], position, rtol=1e-5)
    np.testing.assert_allclose(learner.model.position, position, rtol=1e-5)
    with pytest.raises(ValueError, match="two coordinates"):
        train_continual(models.Point(jnp.zeros(3)), stream, algorithms.bp(lr))
    with pytest.raises(ValueError, match="`steps_per_task` is 0"):
        tasks.ToyLandscapes(steps_per_task=0)
