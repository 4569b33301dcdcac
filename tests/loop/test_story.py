"""The story on permuted digits, at full length."""

import jax
import numpy as np
import pytest

from spectral import algorithms, models, tasks, train_continual


ALGORITHMS = {
    "bp": algorithms.bp(0.03),
    "l2_er": algorithms.l2_er(0.03, er_lr=1e-3, weight_decay=2e-3, er_period=50),
}


@pytest.mark.slow
def test_bp_loses_plasticity_and_l2_er_keeps_it():
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=200, steps_per_task=1500)
    last = {name: [] for name in ALGORITHMS}
    for seed in range(3):
        model = models.MLP(64, 10, width=100, depth=3, key=jax.random.key(seed))
        for name, algo in ALGORITHMS.items():
            _, history = train_continual(model, stream, algo, key=jax.random.key(100 + seed))
            last[name].append(history["test_accuracy"][-40:].mean())
    assert np.mean(last["bp"]) < 0.3
    assert np.mean(last["l2_er"]) > 0.85
