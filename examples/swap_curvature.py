"""One collapse of a network, measured with every matrix and estimator of curvature.

    python examples/swap_curvature.py [--small] [--out FOLDER]

A small network learns one permutation of the digits after another by plain backpropagation. At the
start of every twentieth task the probe measures the spectrum on all training rows, once for each
pair of a matrix and an estimator. Only these two arguments differ. `Dense` on the Hessian is the
reference. The other estimators of the Hessian differ from it by the noise of their random vectors
and by their resolution. The other matrices have different spectra.
"""

import argparse
import pathlib

import jax
import matplotlib.pyplot as plt
import numpy as np

from spectral import algorithms, models, probes, tasks, train_continual
from spectral.curvature import (
    Chebyshev,
    Deflated,
    Dense,
    GaussNewton,
    GramEigh,
    Hessian,
    KFAC,
    KroneckerEigh,
    Lanczos,
    MatfreeLanczos,
)


def estimates(order: int) -> dict:
    """Pairs of a matrix and an estimator, by name."""
    return {
        "Hessian, Dense": (Hessian, Dense()),
        "Hessian, Lanczos": (Hessian, Lanczos(order=order, num_vectors=4)),
        "Hessian, Deflated": (Hessian, Deflated(order=order, num_vectors=4)),
        "Hessian, MatfreeLanczos": (Hessian, MatfreeLanczos(order=order, num_vectors=4)),
        "Hessian, Chebyshev": (Hessian, Chebyshev(order=order, num_vectors=4)),
        "GaussNewton, GramEigh": (GaussNewton, GramEigh()),
        "KFAC, KroneckerEigh": (KFAC, KroneckerEigh()),
    }


def digits(rows: int) -> tasks.ImageSet:
    whole = tasks.load_images("digits")
    return tasks.ImageSet(
        name="digits",
        train_images=whole.train_images[:rows],
        train_labels=whole.train_labels[:rows],
        test_images=whole.test_images,
        test_labels=whole.test_labels,
        num_classes=10,
        max_value=16,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Every estimator under one experiment.")
    parser.add_argument(
        "--small", action="store_true", help="few tasks, a tiny network, two estimators"
    )
    parser.add_argument("--out", type=pathlib.Path, default=None, help="where to draw the figure")
    arguments = parser.parse_args()
    num_tasks, every, rows, width = (2, 1, 20, 2) if arguments.small else (101, 20, 200, 16)

    images = digits(rows)
    stream = tasks.PermutedImages(images, num_tasks=num_tasks, steps_per_task=5 * rows)
    model = models.MLP(64, 10, width=width, depth=2, key=jax.random.key(0))
    chosen = estimates(20 if arguments.small else 60)
    if arguments.small:
        chosen = {name: chosen[name] for name in ("Hessian, Dense", "GaussNewton, GramEigh")}
    watch = {
        name: probes.HessianSpectrum(
            matrix=matrix, estimator=estimator, num_examples=rows, every=every, epsilon=0.1
        )
        for name, (matrix, estimator) in chosen.items()
    }
    _, history = train_continual(
        model, stream, algorithms.bp(lr=0.1), key=jax.random.key(1), probes=watch
    )

    measured = np.arange(0, num_tasks, every)
    truth = history["Hessian, Dense.start.normalised_epsilon_rank"][measured]
    print("fraction of eigenvalues beyond 0.1 at task starts, and its error against Dense")
    print(f"{'task':26s}" + "".join(f"{task:>18d}" for task in measured))
    for name in watch:
        rank = history[f"{name}.start.normalised_epsilon_rank"][measured]
        cells = [f"{r:.4f} ({r - t:+.4f})" for r, t in zip(rank, truth, strict=True)]
        print(f"{name:26s}" + "".join(f"{cell:>18s}" for cell in cells))
    accuracy = [f"{a:18.2f}" for a in history["test_accuracy"][measured]]
    print(f"{'test accuracy':26s}" + "".join(accuracy))

    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
        for name in watch:
            rank = history[f"{name}.start.normalised_epsilon_rank"][measured]
            sem = history[f"{name}.start.normalised_epsilon_rank_sem"][measured]
            style = {"color": "black", "linewidth": 3} if "Dense" in name else {}
            left.errorbar(measured, rank, sem, label=name, capsize=3, **style)
            right.errorbar(measured, rank - truth, sem, capsize=3, **style)
        left.set(xlabel="task", ylabel="fraction of eigenvalues beyond 0.1", yscale="log")
        right.set(xlabel="task", ylabel="error against Dense on the Hessian")
        left.legend()
        figure.savefig(arguments.out / "swap_curvature.png", dpi=120)


if __name__ == "__main__":
    main()
