"""How fast networks of convolutions train inside the loop, and whether they are what they say.

    python benchmarks/networks.py [--rounds 5] [--steps 4] [--only NAME ...] [--check]
                                  [--data-dir FOLDER --data NAME]

A step is a minibatch of 32 x 32 images, its gradient and SGD with momentum; ours inside the loop
of `train_continual`, PyTorch's in a Python loop, both from bytes, in turn in one process. `--check`
compares the networks with an independent definition in PyTorch with the same weights instead:
outputs, gradients and running statistics, in training and in inference. `--data` times the loading
of a data set whose decoded copy is kept. PyTorch comes with the extra `benchmarks`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spectral import AbstractMeter, algorithms, History, models, tasks, train_continual


try:
    import torch  # pyright: ignore[reportMissingImports]  (an extra)
except ImportError:
    torch = None

# (name, network, batch, classes)
CASES: dict[str, tuple[Callable[..., Any], int, int]] = {
    "convnet": (models.ConvNet, 100, 2),
    "resnet18, width 8": (lambda *a, key: models.ResNet18(*a, width=8, key=key), 100, 100),
    "resnet18, width 64": (models.ResNet18, 20, 100),
}
SHAPE = (3, 32, 32)


def synthetic(rows: int, classes: int) -> tasks.ImageSet:
    rng = np.random.default_rng(0)
    labels = jnp.asarray(np.arange(rows) % classes)
    images = jnp.asarray(rng.integers(0, 256, (rows, 32, 32, 3)).astype(np.uint8))
    return tasks.ImageSet("synthetic", images, labels, images[:10], labels[:10], classes, 255)


def make(name: str) -> tuple[Any, Any]:
    """A network with weights a little off their beginning, and its state."""
    network, _, classes = CASES[name]
    model, state = eqx.nn.make_with_state(network)(SHAPE, classes, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.05 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    model = eqx.apply_updates(model, jax.tree.unflatten(structure, noise))
    return model, state if jax.tree.leaves(state) else None


class TorchConvNet(torch.nn.Module if torch else object):
    def __init__(self, model: models.ConvNet):
        super().__init__()
        convolutions = []
        for layer in model.convolutions:
            out, into, side, _ = layer.weight.shape
            conv = torch.nn.Conv2d(into, out, side, padding=side // 2)
            convolutions += [take(conv, layer), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        self.body = torch.nn.Sequential(*convolutions, torch.nn.Flatten(), *dense(model.dense))

    def forward(self, x: Any) -> Any:
        return self.body(x)


class TorchBlock(torch.nn.Module if torch else object):
    def __init__(self, block: Any):
        super().__init__()
        self.first, self.first_norm = convolution(block.first), norm(block.first_norm)
        self.second, self.second_norm = convolution(block.second), norm(block.second_norm)
        self.skip = torch.nn.Identity()
        if block.skip is not None:
            self.skip = torch.nn.Sequential(convolution(block.skip), norm(block.skip_norm))

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.skip(x) + self.second_norm(self.second(y)))


class TorchResNet18(torch.nn.Module if torch else object):
    def __init__(self, model: models.ResNet18):
        super().__init__()
        blocks = [TorchBlock(block) for stage in model.stages for block in stage]
        stem = [convolution(model.stem), norm(model.stem_norm), torch.nn.ReLU()]
        self.body = torch.nn.Sequential(*stem, *blocks)
        self.head = torch.nn.Sequential(*dense(model.dense))

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean((2, 3)))


def take(theirs: Any, ours: Any) -> Any:
    """Give a layer of PyTorch the weights of one of ours."""
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(np.asarray(ours.weight)))
        theirs.bias.copy_(torch.tensor(np.asarray(ours.bias)))
    return theirs


def convolution(layer: Any) -> Any:
    out, into, side, _ = layer.weight.shape
    conv = torch.nn.Conv2d(into, out, side, stride=layer.stride, padding=side // 2)
    return take(conv, layer)


def norm(layer: Any) -> Any:
    made = take(torch.nn.BatchNorm2d(layer.weight.shape[0], momentum=0.1), layer)

    def note(module: Any, inputs: Any, outputs: Any) -> None:
        module.seen = inputs[0].numel() // inputs[0].shape[1]

    made.register_forward_hook(note)
    return made


def dense(layers: Any) -> list[Any]:
    made = []
    for layer in layers:
        out, into = layer.weight.shape
        made += [take(torch.nn.Linear(into, out), layer), torch.nn.ReLU()]
    return made[:-1]


def in_torch(model: Any) -> Any:
    return (TorchConvNet if isinstance(model, models.ConvNet) else TorchResNet18)(model)


def torch_runner(name: str, images: tasks.ImageSet, steps: int) -> Callable[[], float]:
    _, batch, _ = CASES[name]
    net = in_torch(make(name)[0])
    pixels = torch.tensor(np.asarray(images.train_images)).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(np.asarray(images.train_labels)).long()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def train() -> float:
        began = time.perf_counter()
        order = torch.randperm(len(labels))
        for i in range(steps):
            rows = order[i * batch : (i + 1) * batch]
            optimiser.zero_grad()
            logits = net(pixels[rows].float() / 255)
            torch.nn.functional.cross_entropy(logits, labels[rows]).backward()
            optimiser.step()
        return (time.perf_counter() - began) / steps

    return train


class TaskTimes(AbstractMeter):
    """Notes when each task ends."""

    at: list[float] = eqx.field(static=True)

    def update(self, done: int, total: int, history: History) -> None:
        self.at.append(time.perf_counter())


def our_seconds(name: str, images: tasks.ImageSet, steps: int, rounds: int) -> list[float]:
    _, batch, _ = CASES[name]
    loader = tasks.Loader(batch_size=batch, minibatches=steps)
    stream = tasks.PermutedLabels(images, num_tasks=rounds + 1, loader=loader)
    model, state = make(name)
    meter = TaskTimes([])
    algo = algorithms.bp(algorithms.sgd(1e-3, momentum=0.9))
    train_continual(model, stream, algo, model_state=state, segment_tasks=1, meter=meter)
    # The first task is compiled within its time.
    return (np.diff(meter.at)[1:] / steps).tolist()


def speed(names: list[str], steps: int, rounds: int) -> None:
    print(f"{'':20s}{'batch':>7s}{'ours ms':>10s}{'torch ms':>10s}{'ratio':>8s}")
    for name in names:
        _, batch, classes = CASES[name]
        images = synthetic(batch * steps, classes)
        ours = 1e3 * float(np.median(our_seconds(name, images, steps, rounds)))
        theirs = float("nan")
        if torch is not None:
            train = torch_runner(name, images, steps)
            train()
            theirs = 1e3 * float(np.median([train() for _ in range(rounds)]))
        print(f"{name:20s}{batch:7d}{ours:10.1f}{theirs:10.1f}{ours / theirs:8.2f}", flush=True)


def check(names: list[str]) -> None:
    """The largest difference from PyTorch, relative to the largest entry of the array or layer."""
    if torch is None:
        raise SystemExit("PyTorch is missing: pip install '.[benchmarks]'")
    print(
        f"{'':20s}{'outputs':>10s}{'gradients':>11s}{'mean':>10s}{'variance':>10s}{'inference':>11s}"
    )
    for name in names:
        _, batch, classes = CASES[name]
        model, state = make(name)
        net = in_torch(model)
        x = np.asarray(jax.random.normal(jax.random.key(2), (batch, *SHAPE)))
        y = np.arange(batch) % classes

        @eqx.filter_jit
        @eqx.filter_value_and_grad(has_aux=True)
        def ours(model, state, x=x, y=y):
            logits, aux = models.apply_network(model, state, jnp.asarray(x), inference=False)
            return tasks.cross_entropy(logits, jnp.asarray(y))[0], (logits, aux.model_state)

        (_, (logits, state)), grads = ours(model, state)
        outputs = net(torch.tensor(x))
        torch.nn.functional.cross_entropy(outputs, torch.tensor(y)).backward()
        found = {"outputs": off(logits, outputs.detach())}
        own = jax.tree.leaves(eqx.filter(grads, eqx.is_inexact_array))
        theirs = [p.grad.numpy() for p in net.parameters()]  # in the same order
        # A bias before a norm has no gradient but rounding: layer by layer, weight and bias.
        layers = zip(own[::2], own[1::2], theirs[::2], theirs[1::2], strict=True)
        found["gradients"] = max(
            max(np.abs(w - v).max(), np.abs(b - c).max()) / np.abs(v).max() for w, b, v, c in layers
        )
        found |= statistics(model, state, net)
        logits, _ = eqx.filter_jit(models.apply_network)(
            model, state, jnp.asarray(x), inference=True
        )
        net.eval()
        found["inference"] = off(logits, net(torch.tensor(x)).detach())
        widths = (10, 11, 10, 10, 11)
        cells = (f"{v:{w}.1e}" for v, w in zip(found.values(), widths, strict=True))
        print(f"{name:20s}{''.join(cells)}", flush=True)


def off(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    return float(np.abs(a - b).max() / np.abs(b).max())


def statistics(model: Any, state: Any, net: Any) -> dict[str, float]:
    """Those of the one batch seen. They are then handed to PyTorch, for the comparison in
    inference, since it keeps the unbiased variance."""
    is_norm = lambda n: isinstance(n, models.BatchNorm)
    ours = [n for n in jax.tree.leaves(model, is_leaf=is_norm) if is_norm(n)]
    theirs = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    worst = {"mean": 0.0, "variance": 0.0}
    for own, other in zip(ours, theirs, strict=True):
        mean, variance = (np.asarray(a) for a in state.get(own.statistics))
        worst["mean"] = max(worst["mean"], off(mean, other.running_mean))
        unbiased = 0.9 + (variance - 0.9) * other.seen / (other.seen - 1)
        worst["variance"] = max(worst["variance"], off(unbiased, other.running_var))
        with torch.no_grad():
            other.running_mean.copy_(torch.tensor(mean))
            other.running_var.copy_(torch.tensor(variance))
    return worst


def loading(name: str, data_dir: str) -> None:
    tasks.load_images(name, data_dir)
    began = time.perf_counter()
    images = jax.block_until_ready(tasks.load_images(name, data_dir))
    seconds = time.perf_counter() - began
    size = sum(a.nbytes for a in (images.train_images, images.test_images)) / 1e6
    dtype = images.train_images.dtype
    print(f"load_images({name!r}), kept: {seconds:.2f} s for {size:.0f} MB of {dtype}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Networks of convolutions inside the loop.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--data", default="tiny_imagenet32")
    parser.add_argument("--data-dir")
    given = parser.parse_args()
    if given.data_dir is not None:
        loading(given.data, given.data_dir)
    elif given.check:
        check(given.only)
    else:
        speed(given.only, given.steps, given.rounds)


if __name__ == "__main__":
    main()
