"""The toy landscapes against the formulas of the paper's Appendix C, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, Learner, models, tasks, train_continual
from spectral._check_parts import check_parts
from spectral.tasks import in_bowl, landscape


KEY = jax.random.key(0)
OPTIMISER = algorithms.bp().optimiser


def expected(x, y, task):
    """Returns the landscape and whether its bowl is lower than its canyon."""
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
def test_landscapes_follow_their_formulas():
    positions = np.random.default_rng(0).uniform(-5, 3, (50, 2))
    look = lambda x: [(landscape(x, task), in_bowl(x, task)) for task in (0, 1)]
    for task, (values, bowls) in enumerate(jax.jit(jax.vmap(look))(positions)):
        wanted = [expected(x, y, task) for x, y in positions]
        np.testing.assert_allclose(values, [value for value, _ in wanted], rtol=1e-6)
        np.testing.assert_array_equal(bowls, [bowl for _, bowl in wanted])
        assert 0 < np.sum(bowls) < 50


def test_gradient_descent_in_the_loop():
    start, lr = jnp.array([0.3, 0.8]), 0.02
    stream = tasks.ToyLandscapes(steps_per_task=5)
    learner, history = train_continual(models.Point(start), stream, algorithms.bp(lr))
    slope = jax.jit(jax.value_and_grad(landscape))
    position, path, losses = np.asarray(start), [], []
    for task in range(2):
        for _ in range(5):
            loss, gradient = slope(position, task)
            path.append(position)
            losses.append(loss)
            position = position - np.float32(lr) * np.asarray(gradient)
    np.testing.assert_allclose(history["position"].reshape(10, 2), path, rtol=1e-5)
    np.testing.assert_allclose(history["loss"].ravel(), losses, rtol=1e-5)
    np.testing.assert_allclose(history["final_position"][1], position, rtol=1e-5)
    np.testing.assert_allclose(history["final_loss"][1], slope(position, 1)[0], rtol=1e-5)
    np.testing.assert_allclose(learner.model.position, position, rtol=1e-5)


def test_bad_arguments():
    stream = tasks.ToyLandscapes(steps_per_task=5)
    with pytest.raises(ValueError, match="two coordinates"):
        check_parts(models.Point(jnp.zeros(3)), stream, algorithms.bp())
    with pytest.raises(ValueError, match="`steps_per_task` is 0"):
        tasks.ToyLandscapes(steps_per_task=0)
    state, learner = jnp.asarray(1), Learner(models.Point(jnp.zeros(2)), None, OPTIMISER)
    with pytest.raises(ValueError, match="`num_examples` is 0"):
        stream.sample(state, learner, 0, "train", key=KEY)
    np.testing.assert_array_equal(stream.sample(state, learner, 3, "train", key=KEY).task, 1)
