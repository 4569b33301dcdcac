"""Your own transform, trained and compared with backpropagation and L2-ER.

    python examples/own_algorithm.py [--small]

`RenewOldest` renews the oldest unit of every layer at the start of each task, whether it is useful
or not. It is a control for algorithms that choose which unit to renew. The example takes about 30
seconds.
"""

import argparse

import jax
import jax.numpy as jnp

from spectral import algorithms, Learner, models, probes, tasks, train_continual


class RenewOldest(algorithms.AbstractTransform):
    """Renews the oldest unit of every layer. The state is the age of each unit, in tasks."""

    def init(self, learner, *, key):
        return tuple(jnp.arange(group.size) for group in learner.model.units())

    def begin_task(self, learner, state, start, *, key):
        model, optimiser, ages = learner.model, learner.optimiser, []
        for i, (group, age) in enumerate(zip(model.units(), state, strict=True)):
            oldest = jnp.arange(group.size) == jnp.argmax(age)
            model = models.renew_units(model, group, oldest, key=jax.random.fold_in(key, i))
            optimiser = models.forget_units(optimiser, model, group, oldest)
            ages.append(jnp.where(oldest, 0, age + 1))
        return Learner(model, learner.model_state, optimiser), tuple(ages)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare your own transform.")
    parser.add_argument("--small", action="store_true", help="two short tasks, as a test")
    count, steps = (2, 100) if parser.parse_args().small else (100, 1500)
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=count, steps_per_task=steps)
    model = models.MLP(64, 10, width=100, key=jax.random.key(0))
    contenders = {
        "bp": algorithms.bp(0.03),
        "l2_er": algorithms.l2_er(0.03, er_lr=1e-3, er_period=50, weight_decay=2e-3),
        "renew_oldest": algorithms.Algorithm(algorithms.sgd(0.03), transforms=(RenewOldest(),)),
    }
    print(f"Mean over the last {max(count // 5, 1)} of {count} tasks")
    print(f"{'':14s}{'test accuracy':>14s}{'dead units':>12s}")
    for name, algo in contenders.items():
        _, history = train_continual(
            model, stream, algo, key=jax.random.key(1), probes={"dead": probes.DeadUnits()}
        )
        last = slice(-max(count // 5, 1), None)
        accuracy = history["test_accuracy"][last].mean()
        dead = history["dead.start.fraction"][last].mean()
        print(f"{name:14s}{accuracy:14.3f}{dead:12.3f}", flush=True)


if __name__ == "__main__":
    main()
