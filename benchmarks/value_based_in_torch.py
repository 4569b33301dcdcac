"""DQN in PyTorch on MinAtar's Breakout, as a loop in Python that steps the game between updates.

It is written to be fast: the replay is a ring of bytes in NumPy, a minibatch is gathered at once,
and Adam is the fused one. The game is the one of its authors (the package MinAtar, in NumPy), or
that of pgx, whose compiled step is called from Python.
"""

import copy
import importlib
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import jax
import numpy as np


torch: Any = importlib.import_module("torch")
Game = Callable[[int | None], tuple[Any, float, bool]]  # an action, or None for a new episode


def authors_game() -> Game:
    game = importlib.import_module("minatar").Environment("breakout", sticky_action_prob=0.1)
    offered = game.minimal_action_set()

    def move(action: int | None) -> tuple[Any, float, bool]:
        reward, ended = (game.reset(), False) if action is None else game.act(offered[action])
        return game.state().transpose(2, 0, 1), reward or 0.0, ended

    return move


def pgx_game() -> Game:
    game = importlib.import_module("pgx").make("minatar-breakout")
    step, init = jax.jit(game.step), jax.jit(game.init)
    keys: list[Any] = []
    seeds = count()
    state: Any = None

    def move(action: int | None) -> tuple[Any, float, bool]:
        nonlocal state
        if not keys:
            keys.extend(np.asarray(jax.random.split(jax.random.PRNGKey(next(seeds)), 1000)))
        key = keys.pop()
        state = init(key) if action is None else step(state, action, key)
        seen = np.array(state.observation).transpose(2, 0, 1)
        return seen, float(state.rewards[0]), bool(state.terminated)

    return move


def rounds(
    game: Game, steps: int, *, learning_starts: int, capacity: int, lr: float
) -> Iterator[float]:
    """Yields how long each `steps` further steps take, with one update of 32 transitions in each,
    after `learning_starts` steps of random actions."""
    rng, num_actions = np.random.default_rng(0), 3
    online = torch.nn.Sequential(
        torch.nn.Conv2d(4, 16, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(1024, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, num_actions),
    )
    target = copy.deepcopy(online)
    optimiser = torch.optim.Adam(online.parameters(), lr=lr, fused=True)
    observations, followings = (np.zeros((capacity, 4, 10, 10), bool) for _ in range(2))
    actions, rewards = np.zeros(capacity, np.int64), np.zeros(capacity, np.float32)
    going = np.zeros(capacity, np.float32)
    began, seen = 0.0, game(None)[0]
    for i in count():
        if i >= learning_starts and (i - learning_starts) % steps == 0:
            if i > learning_starts:
                yield time.perf_counter() - began
            began = time.perf_counter()
        epsilon = max(0.1, 1 - 0.9 * i / 100_000)
        if i < learning_starts or rng.random() < epsilon:
            action = int(rng.integers(num_actions))
        else:
            with torch.no_grad():
                action = int(online(torch.from_numpy(seen[None]).float()).argmax())
        after, reward, ended = game(action)
        at = i % capacity
        observations[at], followings[at], actions[at] = seen, after, action
        rewards[at], going[at] = reward, 1 - ended
        seen = game(None)[0] if ended else after
        if i < learning_starts:
            continue
        rows = rng.integers(min(i + 1, capacity), size=32)
        taken = torch.from_numpy(actions[rows])[:, None]
        with torch.no_grad():
            later = target(torch.from_numpy(followings[rows]).float()).max(1).values
            aim = torch.from_numpy(rewards[rows]) + 0.99 * torch.from_numpy(going[rows]) * later
        value = online(torch.from_numpy(observations[rows]).float()).gather(1, taken)[:, 0]
        optimiser.zero_grad()
        torch.nn.functional.smooth_l1_loss(value, aim).backward()
        optimiser.step()
        if i % 1000 == 0:
            target.load_state_dict(online.state_dict())
