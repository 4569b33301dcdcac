"""Arguments, networks and environments that DQN rejects, before anything is compiled."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from point_mass import point_mass
from switching import Switching, switching_dqn

from spectral import models, probes, tasks
from spectral.tasks.rl.dqn import _dqn_sizes
from spectral.tasks.rl.environments._environment import observation_of


KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 8, "minibatch_size": 9}, "`capacity` is 8, .* `minibatch_size`, which is 9"),
        (
            {"capacity": 8, "steps_per_return": 9},
            "`capacity` is 8, .* `steps_per_return`, which is 9",
        ),
        ({"capacity": 7}, "`capacity` is 7, .* `steps_per_rollout`, which is 8: raise the one"),
        ({"learning_starts": 25}, "`capacity` is 24, .* `learning_starts`, which is 25"),
        (
            {"capacity": 64, "learning_starts": 31},
            "`learning_starts` is 31 and 2 steps wait for their returns, but a task has 32 .* most "
            "30",
        ),
        ({"num_environments": 3}, "`steps_per_rollout` is 8, .* of `num_environments`, which is 3"),
        ({"replay_ratio": 0.3}, "`replay_ratio` is 0.3, which gives 2.4 gradient steps .* of 0.25"),
        ({"replay_ratio": 0.01}, "`replay_ratio` is 0.01, .* of 0.125"),
        ({"replay_ratio": -1.0}, "`replay_ratio` is -1.0"),
        (
            {"target_update": tasks.PeriodicTarget(period=6)},
            "`period` is 6, but must be a multiple of the gradient steps of a chunk, which are 4",
        ),
        ({"kept_fraction": 1.5}, "`kept_fraction` is 1.5"),
        ({"discount": -0.5}, "`discount` is -0.5"),
        ({"capacity": 10**13}, r"`capacity` is 1\d*, .* at most 2147483647"),
        ({"steps_per_return": 0}, "`steps_per_return` is 0"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        switching_dqn(**options)


def test_a_replay_that_does_not_fit(monkeypatch):
    """24 transitions with two observations of 2 bytes, and three numbers of 4 bytes."""
    monkeypatch.setattr(_dqn_sizes, "free_bytes", lambda: 24 * 16)
    switching_dqn()
    with pytest.raises(ValueError, match="`capacity` is 25, .* pass at most 24, or a world whose"):
        switching_dqn(capacity=25)


def test_bad_parts():
    with pytest.raises(ValueError, match="1 continuous actions, but DQN chooses among discrete"):
        tasks.DQN(tasks.ChangingEnvironment(tasks.PointMass(), tasks.Cycle((1.0,)), 2048))
    for make, message in (
        (lambda: tasks.LinearEpsilon(first=1.2), "`first` is 1.2"),
        (lambda: tasks.LinearEpsilon(steps=0), "`steps` is 0"),
        (lambda: tasks.PeriodicTarget(period=0), "`period` is 0"),
        (lambda: tasks.PolyakTarget(fraction=0.0), "`fraction` is 0"),
        (lambda: tasks.HuberValueError(threshold=0.0), "`threshold` is 0"),
        (lambda: probes.Overestimation(num_steps=0), "`num_steps` is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_bad_kinds(monkeypatch):
    # Without this the type checker rejects them first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for options in ({"error": "huber"}, {"target_update": 5}, {"exploration": 0.1}, {"double": 1}):
        with pytest.raises(TypeError, match=f"`{next(iter(options))}` is .* must be of type"):
            switching_dqn(**options)
    text: Any = "a"
    with pytest.raises(ValueError, match="`last` is 'a', but must be a number"):
        tasks.LinearEpsilon(last=text)


def test_networks_that_do_not_fit():
    wrong: Any = models.MLP(2, 3, width=4, depth=1, key=KEY)
    batch = tasks.DQNBatch(jnp.zeros((2, 2)), jnp.zeros(2, int), jnp.zeros(2))
    outputs = lambda: switching_dqn().forward(wrong, None, batch, key=KEY, inference=False)
    with pytest.raises(ValueError, match=r"shape \(3,\) .* one of 2 actions: make .* `out_size=2`"):
        eqx.filter_eval_shape(outputs)


def test_a_state_without_networks():
    state = eqx.filter_eval_shape(switching_dqn().init, key=KEY)
    with pytest.raises(ValueError, match=r"`state.target` is None, .* `stream.begin_run\(state"):
        state.target_network()


def test_overestimation_is_of_action_values(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    anyone: Any = None
    with pytest.raises(TypeError, match=r"(?s)`stream` is PPO.*, but must be of type DQN"):
        probes.Overestimation()(anyone, point_mass(), None, key=KEY)


class Listed(Switching):
    """Gives observations as lists of numbers of Python, as an environment may."""

    def reset(self, parameter, *, key) -> Any:
        return jnp.asarray(0), [0.0, 1.0]


def test_observations_are_kept_as_the_world_gives_them(monkeypatch):
    """Bytes as bytes, and anything else as floating-point numbers."""
    # Without this the type checker rejects lists.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    listed = tasks.DQN(
        tasks.ChangingEnvironment(Listed(), tasks.Cycle((1.0,)), 1000), capacity=2000
    )
    for stream, dtype in ((switching_dqn(), jnp.uint8), (listed, jnp.float32)):
        assert observation_of(stream.world.environment).dtype == dtype
        state = eqx.filter_eval_shape(stream.init, key=KEY)
        assert state.replay.transitions.following.dtype == dtype
