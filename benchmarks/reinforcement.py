"""How fast PPO trains on the ant, and whether its update is correct.

    python benchmarks/reinforcement.py [--quick] [--small] [--check]
                                       [--learn STEPS] [--seeds 3] [--backends spring mjx]

The time is that of an environment step, including learning, with two hidden layers of 256, rollouts
of 2048 steps of one environment, 10 epochs of 16 or 128 minibatches, and Adam. The PPO of this
library runs inside the loop of `train_continual`, with two simulations of the ant; L2-ER takes one
effective-rank step of 128 examples per epoch. The peer is a plain PyTorch PPO of equal size on
Gymnasium's Ant-v5. `--check` compares the updates of one rollout with those of PyTorch, from equal
weights and minibatches. `--learn` compares the returns of the policy after this number of steps
with the returns before the first step, on ground with a constant friction of 1. The peers come with
the extra `benchmarks`. Without them their rows are left out.
"""

import argparse
import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from timing.case import Case, Contender
from timing.command import add_options, Cases, time_cases

from spectral import algorithms, Clock, models, tasks, train_continual


def _extra(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


torch, gymnasium = _extra("torch"), _extra("gymnasium")

ROLLOUT = 2048
EPOCHS = 10


def stream_of(world: tasks.ChangingEnvironment, minibatches: int) -> tasks.PPO:
    return tasks.PPO(
        world,
        num_tasks=1,
        steps_per_rollout=ROLLOUT,
        epochs=EPOCHS,
        minibatches_per_epoch=minibatches,
        num_evaluation_environments=1,
        evaluation_steps=1,
    )


def ours(backend: Any, minibatches: int, rollouts: int, algo: Any) -> Callable[[], object]:
    world = tasks.SlipperyAnt(backend=backend, steps_per_task=rollouts * ROLLOUT)
    stream = stream_of(world, minibatches)
    model = models.ActorCritic(stream.in_size, stream.out_size, key=jax.random.key(0))
    return lambda: train_continual(model, stream, algo)


def algorithm(er_period: int | None) -> algorithms.Algorithm:
    adam = algorithms.adam(1e-4)
    if er_period is None:
        return algorithms.bp(adam)
    window = max(1, er_period // 16)  # 128 of the 2048 steps, as the paper prints
    return algorithms.l2_er(
        adam, er_lr=1e-6, er_period=er_period, er_window=window, weight_decay=1e-3
    )


def torch_networks(model: models.ActorCritic) -> tuple[Any, Any, Any]:
    """PyTorch networks with the weights of `model`."""
    made = []
    for network in (model.actor, model.critic):
        layers = []
        for layer in network.layers:
            layers += [torch.nn.Linear(*layer.weight.shape[::-1]), torch.nn.ReLU()]
        made.append(torch.nn.Sequential(*layers[:-1]))
    networks = *made, torch.nn.Parameter(torch.zeros(model.actor.layers[-1].weight.shape[0]))
    copy_weights(model, networks)
    return networks


def copy_weights(model: models.ActorCritic, networks: tuple[Any, Any, Any]) -> None:
    assert model.log_std is not None
    with torch.no_grad():
        for network, other in zip((model.actor, model.critic), networks[:2], strict=True):
            for layer, linear in zip(network.layers, other[::2], strict=True):
                linear.weight.copy_(torch.tensor(np.asarray(layer.weight)))
                linear.bias.copy_(torch.tensor(np.asarray(layer.bias)))
        networks[2].copy_(torch.tensor(np.asarray(model.log_std)))


def torch_loss(networks: tuple[Any, Any, Any], rows: dict[str, Any]) -> Any:
    actor, critic, log_std = networks
    policy = torch.distributions.Normal(actor(rows["observation"]), log_std.exp())
    ratio = (policy.log_prob(rows["action"]).sum(1) - rows["log_probability"]).exp()
    gain = torch.minimum(
        ratio * rows["advantage"], ratio.clamp(0.8, 1.2) * rows["advantage"]
    ).mean()
    return ((critic(rows["observation"])[:, 0] - rows["target"]) ** 2).mean() - gain


def torch_adam(networks: tuple[Any, Any, Any]) -> Any:
    actor, critic, log_std = networks
    return torch.optim.Adam([*actor.parameters(), *critic.parameters(), log_std], lr=1e-4)


def peer(minibatches: int, rollouts: int) -> Callable[[], object] | None:
    """PPO with Gymnasium and PyTorch, or `None` if they are not installed."""
    if torch is None or gymnasium is None:
        return None
    env = gymnasium.make("Ant-v5")
    size = env.observation_space.shape[0]
    networks = torch_networks(models.ActorCritic(size, 8, key=jax.random.key(0)))
    actor, critic, log_std = networks
    optimiser = torch_adam(networks)

    def collect(observation: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        seen, following = np.zeros((2, ROLLOUT, size), np.float32)
        actions = np.zeros((ROLLOUT, 8), np.float32)
        rewards, terminated, ended = np.zeros((3, ROLLOUT), np.float32)
        with torch.no_grad():
            for t in range(ROLLOUT):
                seen[t] = observation
                mean = actor(torch.from_numpy(seen[t]))
                actions[t] = torch.normal(mean, log_std.exp()).numpy()
                observation, rewards[t], over, cut, _ = env.step(actions[t])
                following[t], terminated[t], ended[t] = observation, over, over or cut
                if over or cut:
                    observation, _ = env.reset()
            rows = torch.from_numpy(seen)
            value = critic(rows)[:, 0].numpy()
            later = critic(torch.from_numpy(following))[:, 0].numpy()
            policy = torch.distributions.Normal(actor(rows), log_std.exp())
            log_p = policy.log_prob(torch.from_numpy(actions)).sum(1)
        deltas = rewards + 0.99 * later * (1 - terminated) - value
        advantages, total = np.zeros(ROLLOUT, np.float32), 0.0
        for t in reversed(range(ROLLOUT)):
            total = deltas[t] + 0.99 * 0.95 * (1 - ended[t]) * total
            advantages[t] = total
        target = torch.from_numpy(advantages + value)
        normal = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
        return {
            "observation": rows,
            "action": torch.from_numpy(actions),
            "log_probability": log_p,
            "advantage": torch.from_numpy(normal),
            "target": target,
        }, observation

    def train() -> None:
        observation, _ = env.reset(seed=0)
        for _ in range(rollouts):
            rows, observation = collect(observation)
            for _ in range(EPOCHS):
                for part in torch.randperm(ROLLOUT).chunk(minibatches):
                    optimiser.zero_grad()
                    torch_loss(networks, {n: x[part] for n, x in rows.items()}).backward()
                    optimiser.step()

    return train


def training(backend: Any, minibatches: int, rollouts: int, *, er: bool) -> Case:
    algo = algorithm(minibatches if er else None)
    steps = rollouts * ROLLOUT
    other = peer(minibatches, rollouts)
    peers = {} if other is None else {"Gymnasium, PyTorch": Contender(other, steps)}
    return Case(Contender(ours(backend, minibatches, rollouts, algo), steps), peers)


def cases(*, quick: bool, small: bool) -> Cases:
    """An environment step with learning, by its name."""
    few = quick or small
    rollouts = 1 if few else 4
    chosen = [
        (backend, minibatches, er)
        for minibatches in ([16] if few else [16, 128])
        for backend in (["spring"] if few else ["spring", "mjx"])
        for er in ([False] if few else [False, True])
    ]
    return {
        f"PPO, ant ({backend}), {minibatches} minibatches{', L2-ER' * er}": functools.partial(
            training, backend, minibatches, rollouts, er=er
        )
        for backend, minibatches, er in chosen
    }


def check() -> None:
    """Compares all updates of one rollout of the point mass."""
    if torch is None:
        print("PyTorch is not installed, so nothing is compared.")
        return
    limited = tasks.TimeLimit(tasks.PointMass(), 50)
    stream = stream_of(tasks.ChangingEnvironment(limited, tasks.Cycle((1.0,)), ROLLOUT), 16)
    model = models.ActorCritic(2, 1, key=jax.random.key(0))
    algo = algorithm(None)
    learner, own = algo.init(model, None, key=jax.random.key(1))
    zero = jnp.asarray(0)
    clock = Clock(zero, zero, zero, zero)
    _, chunk, _ = eqx.filter_jit(stream.collect)(
        stream.init(key=jax.random.key(2)), learner, clock, key=jax.random.key(3)
    )
    networks = torch_networks(model)
    optimiser = torch_adam(networks)

    @eqx.filter_jit
    def step(model: Any, optimiser: Any, item: Any) -> tuple[Any, Any, Any, Any]:
        def loss(model: Any) -> Any:
            outputs = jax.vmap(model)(item.observation)[0]
            return stream.criterion(outputs, item)[0]

        value, grads = eqx.filter_value_and_grad(loss)(model)
        return *optimiser.apply(grads, model), value, grads

    worst = {"loss": 0.0, "gradient": 0.0, "step": 0.0}
    model, own = learner.model, learner.optimiser
    for i in range(stream.minibatches):
        item = jax.tree.map(lambda x, i=i: x[i], chunk.items)
        rows = {n: torch.tensor(np.asarray(getattr(item, n))) for n in vars(item)}
        # Every update starts from equal weights. Otherwise rounding could clip a ratio in only one
        # of the two runs, and they would diverge.
        copy_weights(model, networks)
        model, own, value, grads = step(model, own, item)
        optimiser.zero_grad()
        theirs = torch_loss(networks, rows)
        theirs.backward()
        optimiser.step()
        worst["loss"] = max(worst["loss"], abs(float(value) - theirs.item()))
        for network, name in zip(networks[:2], ("actor", "critic"), strict=True):
            layers = zip(getattr(grads, name).layers, getattr(model, name).layers, strict=True)
            for j, (grad, layer) in enumerate(layers):
                other = network[2 * j].weight
                apart = np.abs(np.asarray(grad.weight) - other.grad.numpy()).max()
                worst["gradient"] = max(
                    worst["gradient"], float(apart / np.abs(other.grad.numpy()).max())
                )
                apart = np.abs(np.asarray(layer.weight) - other.detach().numpy()).max()
                worst["step"] = max(worst["step"], float(apart) / 1e-4)
    print(f"{stream.minibatches} updates of one rollout, each from equal weights; largest")
    print(
        f"differences: loss {worst['loss']:.1e}; gradients {worst['gradient']:.1e} of the largest"
    )
    print(f"entry of a layer; steps of single weights {worst['step']:.1e} of the learning rate")


def learn(backend: Any, steps: int, seeds: int) -> None:
    """Prints for each seed the mean return of episodes in the first and in the last rollouts."""
    rollouts = -(-steps // ROLLOUT)
    late = max(1, rollouts // 20)
    world = tasks.SlipperyAnt(
        backend=backend, steps_per_task=rollouts * ROLLOUT, schedule=tasks.Cycle((1.0,))
    )
    stream = tasks.PPO(world, num_tasks=1, steps_per_rollout=ROLLOUT, num_evaluation_environments=0)
    gains = []
    print(f"\n{backend}, {rollouts * ROLLOUT} steps: first rollout, last {late}, gain", flush=True)
    for seed in range(seeds):
        key = jax.random.key(seed)
        model = models.ActorCritic(stream.in_size, stream.out_size, key=jax.random.fold_in(key, 0))
        _, history = train_continual(model, stream, algorithm(None), key=key)
        returns = history["episode_return"][0]
        first, last = returns[0], np.nanmean(returns[-late:])
        gains.append(last - first)
        print(f"seed {seed}: {first:8.0f} {last:8.0f} {gains[-1]:8.0f}", flush=True)
    if seeds > 1:
        half = scipy.stats.t.ppf(0.975, seeds - 1) * np.std(gains, ddof=1) / np.sqrt(seeds)
        print(f"gain {np.mean(gains):.0f} +- {half:.0f} (95 %, Student's t over {seeds} seeds)")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast PPO trains on the ant.")
    add_options(parser)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--learn", type=int, metavar="STEPS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backends", nargs="+", default=["spring", "mjx"])
    given = parser.parse_args()
    if given.check:
        check()
    elif given.learn is not None:
        for backend in given.backends:
            learn(backend, given.learn, given.seeds)
    else:
        time_cases(cases(quick=given.quick, small=given.small), given)


if __name__ == "__main__":
    main()
