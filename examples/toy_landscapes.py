"""Does curvature help in the paper's toy problem? Figure 1, and a map of all starting points.

    python examples/toy_landscapes.py [--small] [--out FOLDER]

Gradient descent and curvature-regularised gradient descent (equations 46 and 47) run on two
landscapes, one after the other, from every starting point on a grid. In the paper, plain descent
ends in the canyon of task 1 and is slow on task 2, while regularised descent ends in the bowl and
converges. The paper gives neither the starting point nor the step size. This script counts the
starting points with this result and those with the reverse result, and draws Figure 1 from a point
with this result.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from spectral.tasks import in_bowl, landscape


ALPHA, BETA, EPSILON = jnp.array([0.12, 0.10]), 0.006, 1e-6  # Appendix C.3
START = jnp.array([0.15, -0.9])  # has the result of the paper


def objective(position, task, regularised):
    """F_t of equation 45, or L_t if `regularised` is 0."""
    hessian = jax.hessian(landscape)(position, task)
    barrier = -jnp.log(jnp.linalg.det(hessian @ hessian + EPSILON * jnp.eye(2)))
    extra = ALPHA[task] * barrier + BETA / 2 * position @ position
    return landscape(position, task) + regularised * extra


def descend(start, regularised, rate, steps):
    """The path through both tasks, [2, steps + 1, 2]."""

    def of_task(position, task):
        def step(position, _):
            gradient = jax.grad(objective)(position, task, regularised)
            return position - rate * gradient, position

        end, path = jax.lax.scan(step, position, length=steps)
        return end, jnp.concatenate([path, end[None]])

    return jax.lax.scan(of_task, start, jnp.arange(2))[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The toy problem of the paper, for many starting points."
    )
    parser.add_argument("--small", action="store_true", help="a coarse map with few steps")
    parser.add_argument("--out", type=pathlib.Path, default=None, help="where to draw figures")
    arguments = parser.parse_args()
    points, steps, rate = (9, 20, 0.01) if arguments.small else (61, 200, 0.01)

    axis = jnp.linspace(-3, 3, points)
    starts = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    run = jax.jit(jax.vmap(descend, in_axes=(0, None, None, None)), static_argnums=3)
    bowl, crawl = {}, {}
    for name, regularised in {"plain": 0.0, "regularised": 1.0}.items():
        ends = run(starts, regularised, rate, steps)[:, :, -1]
        bowl[name] = np.asarray(jax.vmap(in_bowl, in_axes=(0, None))(ends[:, 0], 0))
        crawl[name] = np.asarray(jax.vmap(landscape, in_axes=(0, None))(ends[:, 1], 1) > 0.05)
    story = ~bowl["plain"] & bowl["regularised"] & crawl["plain"] & ~crawl["regularised"]
    reverse = bowl["plain"] & ~bowl["regularised"] & crawl["regularised"] & ~crawl["plain"]
    print(f"{len(starts)} starting points in [-3, 3]^2, step size {rate}, {steps} steps per task")
    for name in bowl:
        print(f"  {name:12s} ends task 1 in the bowl: {bowl[name].mean():.1%}")
        print(f"  {name:12s} ends task 2 above a loss of 0.05: {crawl[name].mean():.1%}")
    print(f"  result of the paper: {story.mean():.2%}; the reverse: {reverse.mean():.2%}")

    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        shown = story.astype(int) - reverse.astype(int)
        draw(arguments.out, shown.reshape(points, points), axis, rate, steps)


def draw(folder: pathlib.Path, shown: np.ndarray, axis: jax.Array, rate: float, steps: int) -> None:
    figure, (left, *tasks) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    left.pcolormesh(axis, axis, shown, cmap="coolwarm_r", vmin=-1, vmax=1)
    left.set_title("starts: as in the paper (blue), the reverse (red)")
    x, y = jnp.linspace(-6, 3, 200), jnp.linspace(-3, 4, 200)
    plane = jnp.stack(jnp.meshgrid(x, y), axis=-1)
    for task, axes in enumerate(tasks):
        heights = jax.vmap(jax.vmap(landscape, in_axes=(0, None)), in_axes=(0, None))(plane, task)
        axes.contourf(x, y, jnp.log(heights + 1e-3), levels=30, cmap="Greys")
        for name, regularised in {"plain": 0.0, "regularised": 1.0}.items():
            path = descend(START, regularised, rate, steps)[task]
            axes.plot(*path.T, marker=".", markersize=3, label=name)
        axes.set_title(f"task {task + 1}, from (0.15, -0.9)")
        axes.legend()
    figure.savefig(folder / "toy_landscapes.png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
