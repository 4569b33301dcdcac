"""Does Lemma 6.3 certify the dead units that stay dead? On permuted images, after several tasks.

    python benchmarks/persistence.py [--images digits] [--tasks 10 50 200] [--steps 1500]
    python benchmarks/persistence.py --images mnist --data-dir FOLDER --tasks 10 50 --steps 60000
    python benchmarks/persistence.py --small

The setting is that of the paper's Permuted MNIST: one image a step, pixels from 0 to 1, learning
rate 0.01, three hidden layers (of 100 units), backpropagation and L2. At the end of the given tasks
the script measures the first hidden layer: the radii of its dead units on the images of the task,
and on 100 drawn next tasks, which are new permutations of the same images, the shift, the dead
units that the lemma certifies, and those that are dead (`theory.dead_on_tasks`). With m half of
the number of dead units, it prints the bound of Theorem 6.5 and the fraction of next tasks with at
most m dead units among those, with its 95 % interval.
"""

import argparse
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from spectral import algorithms, Learner, models, probes, Quantity, tasks, theory, train_continual


class FirstLayer(probes.AbstractProbe):
    """Records inputs of the task, and the weights and biases of the first layer."""

    num_examples: int = eqx.field(static=True)
    every: int = eqx.field(static=True)
    when: tuple[probes.When, ...] = eqx.field(static=True, default=("end",))

    def __call__(
        self, learner: Learner, stream: Any, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        batch = stream.sample(stream_state, learner, self.num_examples, "train", key=key)
        layer = learner.model.layers[0]
        return {"inputs": batch.inputs, "weight": layer.weight, "bias": layer.bias}

    def quantities(self) -> dict[str, Quantity]:
        return {name: Quantity(name) for name in ("inputs", "weight", "bias")}


def report(name: str, task: int, model: models.MLP, inputs: np.ndarray, draws: int) -> None:
    rng = np.random.default_rng(task)
    radii = theory.persistence_radii(model, jnp.asarray(inputs))["hidden_0"]
    silent = radii >= 0
    next_tasks = [inputs[:, rng.permutation(inputs.shape[1])] for _ in range(draws)]
    shifts = np.array([theory.directed_hausdorff(new, inputs) for new in next_tasks[:10]])
    certified = sum(int(theory.remains_dead(radii[silent], shift).sum()) for shift in shifts)
    stay = theory.dead_on_tasks(model, map(jnp.asarray, next_tasks))["hidden_0"][:, silent]
    largest = max(radii[silent], default=np.nan)
    print(
        f"{name:4s} task {task:4d}: {silent.sum():3d} dead, largest radius {largest:.2f}, shift "
        f"{shifts.min():.2f} to {shifts.max():.2f}, "
        f"certified {certified / len(shifts):.1f}, stay dead {stay.mean():.2f}",
        end="",
    )
    most = int(silent.sum()) // 2
    if not silent.any():
        print()
        return
    p = theory.persistence_probabilities(radii[silent], shifts)
    bound = theory.trainability_bound(p, most, num_units=len(radii))
    direct = theory.proportion(int((stay.sum(axis=1) <= most).sum()), draws)
    print(
        f"; Pr(at most {most} stay dead): Theorem 6.5 <= {bound:.2f}, drawn {direct.value:.2f} "
        f"[{direct.lower:.2f}, {direct.upper:.2f}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares Lemma 6.3 with drawn next tasks.")
    parser.add_argument("--images", default="digits", help="as for `load_images`")
    parser.add_argument("--data-dir", help="where prepared images are, as for `load_images`")
    parser.add_argument("--tasks", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--steps", type=int, default=1500, help="gradient steps in each task")
    parser.add_argument("--small", action="store_true", help="two short tasks, as a test")
    arguments = parser.parse_args()
    count, steps, width, examples, draws = arguments.tasks, arguments.steps, 100, 1500, 100
    if arguments.small:
        count, steps, width, examples, draws = [1, 2], 50, 8, 20, 10
    stream = tasks.PermutedImages(
        tasks.load_images(arguments.images, data_dir=arguments.data_dir),
        num_tasks=max(count),
        steps_per_task=steps,
        standardise=False,
    )
    model = models.MLP(stream.in_size, 10, width=width, depth=3, key=jax.random.key(0))
    watch = {"first": FirstLayer(num_examples=examples, every=1)}
    contenders = {"BP": algorithms.bp(0.01), "L2": algorithms.l2(0.01, weight_decay=1e-3)}
    for name, algo in contenders.items():
        _, history = train_continual(model, stream, algo, key=jax.random.key(1), probes=watch)
        for task in count:
            names = ("inputs", "weight", "bias")
            inputs, *layer = (jnp.asarray(history[f"first.end.{n}"][task - 1]) for n in names)
            where = lambda m: [m.layers[0].weight, m.layers[0].bias]
            report(name, task, eqx.tree_at(where, model, layer), np.asarray(inputs), draws)


if __name__ == "__main__":
    main()
