"""Does the forecast of trainability come true? Forecast against outcome over 200 tasks.

    python benchmarks/forecast.py [--tasks 200] [--examples 100] [--only BP] [--out FOLDER]
    python benchmarks/forecast.py --small

The stream is permuted digits with one image per step, as in `examples/digits.yaml`. The algorithms
are backpropagation, which loses its plasticity, and L2-ER, which keeps it. At the start of every
task `TrainabilityForecast` predicts the loss that gradient descent on the linearised network
reaches in the steps of the task, with the weight decay of the algorithm. At the end of the task the
loss on training images is measured. The trivial forecast is the measured loss of the previous task.

For each algorithm the script prints the rank correlation of both forecasts with the outcome: over
all tasks, over the tasks before the network guesses permanently, and of the changes between tasks.
Then it prints when the forecast first warned: the first of three tasks in a row with a forecast
above the target, compared with three in a row with an outcome above the target, and three in a row
with an accuracy below half of the mean accuracy on the first ten tasks.
"""

import argparse
import pathlib

import jax
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats

from spectral import algorithms, History, models, probes, tasks, theory, train_continual


TARGET = 1.0  # nats; a network that guesses has 2.3


def first_run(marked: np.ndarray, length: int = 3) -> int | None:
    """The first index of `length` marked entries in a row."""
    for n in range(len(marked) - length + 1):
        if marked[n : n + length].all():
            return n
    return None


def correlation(forecast: np.ndarray, outcome: np.ndarray) -> str:
    """Spearman's correlation. With at least two blocks of ten tasks it has a 95 % interval from
    blocks drawn with replacement. With a single block all draws would be equal."""
    rng, blocks = np.random.default_rng(0), np.arange(len(outcome) // 10)
    value = lambda a, b: scipy.stats.spearmanr(a, b)[0]
    if len(blocks) < 2:
        return f"{value(forecast, outcome):6.3f}"
    drawn = []
    for _ in range(500):
        rows = (rng.choice(blocks, len(blocks))[:, None] * 10 + np.arange(10)[None]).ravel()
        if np.ptp(forecast[rows]) and np.ptp(outcome[rows]):
            drawn.append(value(forecast[rows], outcome[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return f"{value(forecast, outcome):6.3f} [{low:6.3f}, {high:6.3f}]"


def report(name: str, history: History) -> None:
    forecast, outcome = history["forecast.start.loss"], history["outcome.end.loss"]
    accuracy = history["test_accuracy"]
    last, now = outcome[:-1], outcome[1:]
    print(f"\n{name}: {len(outcome)} tasks, {np.mean(outcome > TARGET):.2f} above the target")
    print(f"  rank correlation with the outcome: forecast {correlation(forecast[1:], now)}")
    print(f"                                 last outcome {correlation(last, now)}")
    # Permanently: ten tasks in a row within 2 % of the loss of guessing.
    end = first_run(outcome > 0.98 * np.log(10), 10)
    if end is not None and end > 20:
        before, last_before = now[: end - 1], last[: end - 1]
        print(f"  before it guesses permanently, from task {end} on:")
        print(
            f"                                     forecast {correlation(forecast[1:end], before)}"
        )
        print(f"                                 last outcome {correlation(last_before, before)}")
    changes = scipy.stats.spearmanr(forecast[1:] - last, now - last)[0]
    print(f"  correlation of (forecast - last) with (outcome - last): {changes:6.3f}")
    errors = np.abs(np.log(forecast[1:] / now)), np.abs(np.log(last / now))
    print(f"  median |log ratio| to the outcome: {np.median(errors[0]):.3f}", end="")
    print(f", last outcome {np.median(errors[1]):.3f}")
    print(f"  median outcome / forecast: {np.median(now / forecast[1:]):.2f}")
    right = [np.mean((f > TARGET) == (now > TARGET)) for f in (forecast[1:], last)]
    print(f"  verdict against the target right: {right[0]:.3f}, last outcome {right[1]:.3f}")
    half = accuracy < accuracy[:10].mean() / 2
    warned, failed = first_run(forecast > TARGET), first_run(outcome > TARGET)
    print(f"  first of three in a row above the target: forecast {warned}, outcome {failed}")
    print(f"  first of three in a row below half the early accuracy: {first_run(half)}", flush=True)


def draw(histories: dict[str, History], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for (name, history), colour in zip(histories.items(), ("C0", "C1"), strict=False):
        forecast, outcome = history["forecast.start.loss"], history["outcome.end.loss"]
        axes[0].plot(forecast, color=colour, linestyle=":", label=f"{name}, forecast")
        axes[0].plot(outcome, color=colour, label=f"{name}, outcome")
        axes[1].scatter(forecast, outcome, s=8, color=colour, label=name)
    axes[0].set(xlabel="task", ylabel="training loss (nats)", yscale="log")
    axes[1].set(xlabel="forecast (nats)", ylabel="outcome (nats)", xscale="log", yscale="log")
    for axis in axes:
        axis.legend()
    path.mkdir(parents=True, exist_ok=True)
    figure.savefig(path / "forecast.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares forecast and outcome over many tasks.")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=["BP", "L2-ER"], default=["BP", "L2-ER"])
    parser.add_argument("--out", type=pathlib.Path, default=None, help="where to draw the figure")
    parser.add_argument("--small", action="store_true", help="a few short tasks, as a test")
    arguments = parser.parse_args()
    if arguments.tasks < 3:
        parser.error(f"--tasks is {arguments.tasks}, but a correlation needs at least 3 tasks")
    count, examples, steps, width = arguments.tasks, arguments.examples, 1500, 100
    if arguments.small:
        count, examples, steps, width = 20, 5, 50, 8
    stream = tasks.PermutedImages(
        tasks.load_images("digits"), num_tasks=count, steps_per_task=steps
    )
    model = models.MLP(64, 10, width=width, depth=3, key=jax.random.key(0))
    contenders = {
        "BP": (algorithms.bp(0.03), 0.0),
        "L2-ER": (algorithms.l2_er(0.03, er_lr=1e-3, er_period=50, weight_decay=2e-3), 2e-3),
    }
    histories = {}
    for name, (algo, weight_decay) in ((n, contenders[n]) for n in arguments.only):
        forecast = theory.TrainabilityForecast(
            lr=0.03, target=TARGET, num_examples=examples, weight_decay=weight_decay
        )
        watch = {"forecast": forecast, "outcome": probes.GradientNorm(when=("end",))}
        key = jax.random.key(1)
        _, histories[name] = train_continual(model, stream, algo, key=key, probes=watch)
        report(name, histories[name])
    if arguments.out is not None:
        draw(histories, arguments.out)


if __name__ == "__main__":
    main()
