"""Arguments, networks and environments that PPO rejects."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from counting import Counting, counting_ppo, Tabular
from point_mass import actor_critic, point_mass

from spectral import algorithms, Clock, Learner, models, tasks
from spectral._check_parts import check_parts
from spectral.tasks import ChangingEnvironment, Cycle, PPO


KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"steps_per_rollout": 18},
            "`steps_per_rollout` is 18, but must be a multiple of `minibatches_per_epoch`",
        ),
        (
            {"num_environments": 3},
            "`steps_per_rollout` is 16, but must be a multiple of `num_environments`, which is 3",
        ),
        ({"epochs": 0}, "`epochs` is 0"),
        ({"clip": 0.0}, "`clip` is 0"),
        ({"value_weight": -1.0}, "`value_weight` is -1"),
        ({"entropy_weight": float("inf")}, "`entropy_weight` is inf"),
        (
            {"advantages": "minibatch", "minibatches_per_epoch": 16},
            "a minibatch of one step has no variance",
        ),
        (
            {"steps_per_rollout": 1, "minibatches_per_epoch": 1},
            "a rollout of one step has no variance",
        ),
        (
            {"steps_per_rollout": 24},
            "`steps_per_rollout` is 24, .* 13 steps takes 1 rollouts, which are 11 .* such as 24,",
        ),
        ({"advantages": "batch"}, "`advantages`: Kind 'batch' does not exist"),
        ({"evaluation_steps": 0}, "`evaluation_steps` is 0"),
    ],
)
def test_bad_settings(options, message, monkeypatch):
    # Without this the type checker rejects an unknown kind first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        counting_ppo(**options)


def test_bad_discounts():
    world = ChangingEnvironment(Counting(), Cycle((0.5, 1.5)), 2048)
    with pytest.raises(ValueError, match="`discount` is 1.5"):
        PPO(world, discount=1.5)
    with pytest.raises(ValueError, match="`gae_lambda` is -0.1"):
        PPO(world, gae_lambda=-0.1)
    with pytest.raises(ValueError, match="more than a 32-bit counter holds"):
        PPO(world, num_tasks=2**21)


class Fixed(tasks.AbstractEnvironment):
    """Returns observations of a given size, on a reset and after a step."""

    sizes: Any = eqx.field(static=True, default=(3, 3))
    observation_size: int = eqx.field(static=True, default=3)
    action_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)

    def reset(self, parameter, *, key):
        return jnp.zeros(1), jnp.zeros(self.sizes[0])

    def step(self, state, action, parameter, *, key):
        assert (action.shape, action.dtype.kind) == (((), "i") if self.discrete else ((1,), "f"))
        return state, tasks.Step(jnp.ones(self.sizes[1]), 1, False, False)


def test_discrete_actions():
    world = ChangingEnvironment(Fixed(discrete=True), Cycle((1.0,)), 16)
    stream = PPO(world, steps_per_rollout=16)

    def collect(key):
        model = models.ActorCritic(3, 1, discrete=True, width=3, depth=1, key=key)
        learner = Learner(model, None, algorithms.bp().optimiser)
        clock = Clock(*(jnp.asarray(0),) * 4)
        return stream.collect(stream.init(key=key), learner, clock, key=key)[1].items

    assert eqx.filter_eval_shape(collect, KEY).action.shape == (160, 1)


@pytest.mark.parametrize(("sizes", "wrong"), [((2, 3), 2), ((3, 4), 4)])
def test_observations_of_another_size(sizes, wrong):
    world = ChangingEnvironment(Fixed(sizes=sizes), Cycle((1.0,)), 16)
    message = rf"`observation_size` is 3, but .* gives observations of shape \({wrong},\): correct"
    with pytest.raises(ValueError, match=message):
        check_parts(Tabular(), PPO(world, steps_per_rollout=16), algorithms.bp())


def test_arguments_of_the_wrong_type(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    limited: Any = tasks.TimeLimit(tasks.PointMass(), 5)
    with pytest.raises(TypeError, match="`world` is TimeLimit.*, but must be .*ChangingEnv"):
        PPO(limited)
    schedule: Any = (0.5, 1.5)
    with pytest.raises(TypeError, match="`schedule` is .0.5, 1.5., but must be .*Schedule: pass"):
        ChangingEnvironment(limited, schedule, 8)
    body: Any = tasks.PointMass
    with pytest.raises(TypeError, match="`environment` is .*, but must be .*Environment: pass"):
        ChangingEnvironment(body, Cycle((1.0,)), 8)
    with pytest.raises(TypeError, match="`environment` is .*, but must be .*Environment: pass"):
        tasks.TimeLimit(body, 8)
    with pytest.raises(TypeError, match="`schedule` is .1.0, 2.0., but must be .*Schedule: pass"):
        tasks.Revisit((1.0, 2.0))  # pyright: ignore[reportArgumentType]
    number: Any = 0.5
    with pytest.raises(TypeError, match="`clip_value` is 0.5, but must be of type bool"):
        PPO(ChangingEnvironment(limited, Cycle((1.0,)), 2048), clip_value=number)
    with pytest.raises(ValueError, match="`each` is 0.5, but must be a sequence"):
        Cycle(number)


class Short(tasks.AbstractSchedule):
    def values(self, count, *, key):
        return jnp.ones(3)


def test_a_schedule_of_another_length():
    stream = PPO(ChangingEnvironment(Counting(), Short(), 16), num_tasks=3, steps_per_rollout=16)
    with pytest.raises(ValueError, match=r"`schedule` is Short, whose .*\(4\)` has .* \(3,\), but"):
        check_parts(Tabular(), stream, algorithms.bp())


def test_normalised_advantages_need_two_examples():
    stream = point_mass()

    def sample(stream, key):
        learner = Learner(actor_critic(key=key), None, algorithms.bp().optimiser)
        return stream.sample(stream.init(key=key), learner, 1, "train", key=key)

    message = "`num_examples` is 1, but must be an integer of at least 2"
    with pytest.raises(ValueError, match=message):
        eqx.filter_eval_shape(sample, stream, KEY)
    one = eqx.filter_eval_shape(sample, point_mass(advantages="never"), KEY)
    assert one.observation.shape == (1, 2)
