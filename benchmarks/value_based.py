"""Whether the update of DQN is correct, whether it learns, and how fast it is.

    python benchmarks/value_based.py [--check] [--learn STEPS --seeds 5] [--speed STEPS --rounds 5]

`--check` compares 100 updates with those of PyTorch, from equal weights and on equal minibatches of
transitions, for each option, in single and double precision. PyTorch makes the targets and moves
the target network itself. The number is the largest difference of a weight, relative to the largest
weight of its array. (`tests/tasks/test_dqn_replay.py` checks the transitions.) `--learn` prints the
evaluation of CartPole, of at most 500, every 20,000 environment steps. `--speed` compares steps of
MinAtar's Breakout, with one update in each, with a PyTorch DQN (`value_based_in_torch.py`) on the
game of its authors (the package MinAtar) and on that of pgx. All take turns of STEPS steps.
"""

import argparse
import copy
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spectral import _programs, algorithms, Clock, models, tasks, train_continual
from spectral._core import _train_chunk, begin_task, start_run
from spectral._keys import derive, Role


torch: Any = importlib.import_module("torch") if importlib.util.find_spec("torch") else None

UPDATES, LR, PERIOD, FRACTION, THRESHOLD = 100, 1e-3, 20, 0.01, 0.5
KEY = jax.random.key(0)


def stream_of(**options: Any) -> tasks.DQN:
    cart = tasks.Gymnax("CartPole-v1")
    world = tasks.ChangingEnvironment(cart, tasks.Cycle((1.0,)), options.pop("steps_per_task"))
    given: dict[str, Any] = {"num_tasks": 1} | options
    return tasks.DQN(world, **given)


def network(seed: int) -> models.MLP:
    start = models.TorchDefault()
    return models.MLP(4, 2, width=64, depth=2, initialiser=start, key=jax.random.key(seed))


def arrays_of(model: Any) -> list[Any]:
    return [x for layer in model.layers for x in (layer.weight, layer.bias)]


def ours(stream: tasks.DQN, model: Any) -> tuple[Any, list[np.ndarray]]:
    """The minibatches of the first chunks, and the weights after them."""
    algo, zero = algorithms.bp(algorithms.adam(LR)), jnp.asarray(0)
    chunks = UPDATES // stream.minibatches

    @jax.jit
    def whole():
        run = begin_task(start_run(model, None, stream, algo, KEY), stream, algo, zero, KEY)
        arrays, static = eqx.partition(run, eqx.is_array)

        def one(arrays, index):
            run = eqx.combine(arrays, static)
            clock = Clock(index * stream.minibatches, zero, index, zero)
            key = derive(KEY, Role.COLLECT, zero, index)
            state, chunk, _ = stream.collect(run.stream, run.learner, clock, key=key)
            rows = jax.vmap(lambda item: item.of_replay(state.replay.transitions))(chunk.items)
            after, _ = _train_chunk(run, stream, algo, zero, index, key=KEY)
            return eqx.filter(after, eqx.is_array), rows

        arrays, rows = jax.lax.scan(one, arrays, jnp.arange(chunks))
        return rows, arrays_of(eqx.combine(arrays, static).learner.model)

    rows, weights = jax.tree.map(np.asarray, whole())
    return rows, weights


def theirs(rows: Any, model: Any, *, double: bool, huber: bool, polyak: bool) -> list[np.ndarray]:
    layers = []
    for layer in model.layers:
        linear = torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
        linear.weight.data = torch.tensor(np.asarray(layer.weight))
        linear.bias.data = torch.tensor(np.asarray(layer.bias))
        layers += [linear, torch.nn.ReLU()]
    online = torch.nn.Sequential(*layers[:-1])
    target = copy.deepcopy(online)
    optimiser = torch.optim.Adam(online.parameters(), lr=LR, eps=1e-8)
    loss_of = torch.nn.HuberLoss(delta=THRESHOLD) if huber else torch.nn.MSELoss()
    chunks, per_chunk = rows.action.shape[:2]
    for c in range(chunks):
        with torch.no_grad():
            for old, new in zip(target.parameters(), online.parameters(), strict=True):
                if polyak:
                    for _ in range(per_chunk):
                        old.lerp_(new, FRACTION)
                elif c * per_chunk % PERIOD == 0:
                    old.copy_(new)
        chooser = copy.deepcopy(online)
        for m in range(per_chunk):
            taken = lambda x, c=c, m=m: torch.tensor(x[c, m])
            following, action = taken(rows.following), taken(rows.action).long()[:, None]
            with torch.no_grad():
                best = (chooser if double else target)(following).argmax(dim=1, keepdim=True)
                later = target(following).gather(1, best)[:, 0]
                aim = taken(rows.reward) + taken(rows.discount) * later
            value = online(taken(rows.observation)).gather(1, action)[:, 0]
            optimiser.zero_grad()
            loss_of(value, aim).backward()
            optimiser.step()
    return [p.detach().numpy() for p in online.parameters()]


OPTIONS: dict[str, dict[str, Any]] = {
    "periodic target": {},
    "Polyak target": {"polyak": True},
    "double": {"double": True},
    "Huber": {"huber": True},
    "3-step returns": {"steps_per_return": 3},
    "4 gradient steps a chunk": {"replay_ratio": 1.0},
    "all of them": {
        "polyak": True,
        "double": True,
        "huber": True,
        "steps_per_return": 3,
        "replay_ratio": 1.0,
    },
}


def check() -> None:
    # Threads of PyTorch that wait for one another take most of the time of such small networks.
    torch.set_num_threads(1)
    print(f"{UPDATES} updates against PyTorch, largest relative difference of a weight")
    for name, chosen in OPTIONS.items():
        found = []
        for double_precision in (False, True):
            with jax.enable_x64(double_precision):
                options = dict(chosen)
                huber, polyak = options.pop("huber", False), options.pop("polyak", False)
                rule = tasks.PolyakTarget(fraction=FRACTION) if polyak else None
                stream = stream_of(
                    steps_per_task=100_000,
                    capacity=1000,
                    learning_starts=1,
                    num_environments=4,
                    steps_per_rollout=4 * options.get("steps_per_return", 1),
                    replay_ratio=options.pop("replay_ratio", 0.25)
                    / options.get("steps_per_return", 1),
                    target_update=rule or tasks.PeriodicTarget(period=PERIOD),
                    error=tasks.HuberValueError(threshold=THRESHOLD) if huber else None,
                    **options,
                )
                model = network(0)
                rows, weights = ours(stream, model)
                peer = theirs(
                    rows, model, double=options.get("double", False), huber=huber, polyak=polyak
                )
                pairs = zip(weights, peer, strict=True)
                found.append(max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs))
        print(f"  {name:<26} float32 {found[0]:.1e}   float64 {found[1]:.1e}", flush=True)


def learn(steps: int, seeds: int) -> None:
    part = 20_000
    for seed in range(seeds):
        stream = stream_of(
            steps_per_task=part,
            num_tasks=steps // part,
            capacity=50_000,
            minibatch_size=64,
            target_update=tasks.PeriodicTarget(period=125),
            exploration=tasks.LinearEpsilon(last=0.05, steps=50_000),
            num_evaluation_environments=20,
            evaluation_steps=500,
        )
        start, algo = time.time(), algorithms.bp(algorithms.adam(5e-4))
        _, history = train_continual(network(seed), stream, algo, key=jax.random.key(seed))
        returns = " ".join(f"{x:5.0f}" for x in history["evaluation_return"])
        print(f"  seed {seed}: {returns}   ({time.time() - start:.0f} s)", flush=True)


def turns(steps: int, count: int) -> Iterator[float]:
    """Yields how long `steps` further steps of ours take. The first turn does not count."""
    world = tasks.ChangingEnvironment(tasks.MinAtar("breakout"), tasks.Cycle((1.0,)), steps)
    stream = tasks.DQN(
        world,
        num_tasks=count + 1,
        learning_starts=32,
        steps_per_rollout=1,
        replay_ratio=1.0,
        error=tasks.HuberValueError(),
        exploration=tasks.LinearEpsilon(last=0.1, steps=100_000),
        num_evaluation_environments=0,
    )
    model = models.minatar_network((4, 10, 10), 3, key=KEY)
    algo, one = algorithms.bp(algorithms.adam(LR)), jnp.asarray(1)
    run = _programs.begin(
        _programs.start(model, None, stream, algo, KEY), stream, algo, 0 * one, KEY
    )
    for task in range(count + 1):
        began = time.perf_counter()
        run, _ = _programs.segment(run, stream, algo, jnp.asarray(task), one, 1, KEY)
        jax.block_until_ready(run)
        if task >= 1:
            yield time.perf_counter() - began


def speed(steps: int, rounds: int) -> None:
    peer: Any = importlib.import_module("value_based_in_torch")
    options: Any = {"learning_starts": 1000, "capacity": 100_000, "lr": LR}
    players = {
        "ours": turns(steps, rounds),
        "PyTorch, NumPy's game": peer.rounds(peer.authors_game(), steps, **options),
        "PyTorch, pgx's game": peer.rounds(peer.pgx_game(), steps, **options),
    }
    found = []
    for _ in range(rounds):
        found.append([next(turn) for turn in players.values()])
        rates = "   ".join(
            f"{name} {steps / taken:.0f}" for name, taken in zip(players, found[-1], strict=True)
        )
        print(f"  steps/s: {rates}", flush=True)
    for name, taken in zip(players, np.array(found).T, strict=True):
        ratios = taken / np.array(found)[:, 0]
        print(f"  {name:<22} {np.median(ratios):.2f} of our time")


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether DQN is correct, learns, and is fast.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--learn", type=int, metavar="STEPS")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--speed", type=int, metavar="STEPS")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.check:
        check()
    if arguments.learn:
        learn(arguments.learn, arguments.seeds)
    if arguments.speed:
        speed(arguments.speed, arguments.rounds)


if __name__ == "__main__":
    main()
