"""What PPO learns from, against loops in NumPy; its loss and curvature; what it refuses."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.stats
from counting import Counting, Tabular
from point_mass import actor_critic, point_mass

from spectral import (
    algorithms,
    Clock,
    Diverged,
    Learner,
    models,
    tasks,
    train_continual,
    train_tasks,
)
from spectral._check_parts import check_parts
from spectral.curvature import GaussNewton, Hessian, KFAC, Risk
from spectral.tasks import ChangingEnvironment, ClippedSurrogate, Cycle, PPO, PPOBatch
from spectral.tasks.rl.ppo._rollout import begin, play
from spectral.tasks.rl.ppo._running_moments import Moments


KEY = jax.random.key(3)
CLOCK = Clock(*map(jnp.asarray, (0, 0, 0, 0)))
LEARNER = Learner(Tabular(), None, algorithms.bp().optimiser)
STEPS = 16


def counting(**options: Any) -> PPO:
    world = ChangingEnvironment(Counting(), Cycle((0.5, 1.5)), 13)
    options = {"steps_per_rollout": STEPS, "epochs": 2, "minibatches_per_epoch": 4} | options
    return PPO(world, num_tasks=3, discount=0.9, gae_lambda=0.8, **options)


class Collected(NamedTuple):
    """A second rollout: the state before it, what was played, and what came of it."""

    stream: PPO
    before: Any
    rollout: Any
    after: Any
    items: Any
    metrics: Any


@eqx.filter_jit
def _collect(stream: PPO):
    before, _, _ = stream.collect(stream.init(key=KEY), LEARNER, CLOCK, key=jax.random.key(4))
    after, chunk, metrics = stream.collect(before, LEARNER, CLOCK, key=jax.random.key(5))
    play_key, _ = jax.random.split(jax.random.key(5))
    act = stream._actor(before, LEARNER, greedy=False)
    steps = stream.steps_per_rollout // stream.num_environments
    _, rollout = play(stream.world, before.values, before.players, act, steps, key=play_key)
    return before, rollout, after, chunk.items, metrics


def collected(**options: Any) -> Collected:
    stream = counting(**options)
    return Collected(stream, *jax.tree.map(np.asarray, _collect(stream)))


@pytest.fixture(scope="module")
def plain():
    return collected(advantages="never", environments=2)


@pytest.fixture(scope="module")
def scaled():
    return collected(normalise_observations=True, scale_rewards=True)


def by_hand(rollout: Any, rewards: np.ndarray, show: Any = lambda o: o) -> dict[str, np.ndarray]:
    """What should be learnt from a rollout, in the order of playing: `[steps, environments]`."""
    model = Tabular()
    o, after, a = show(rollout.observation), show(rollout.step.observation), rollout.action
    value, later = o @ model.value, after @ model.value
    log_p = scipy.stats.norm.logpdf(a, o @ model.mean.T, np.exp(-0.5))[..., 0]
    advantage = np.zeros_like(value)
    for e in range(value.shape[1]):
        total = 0.0
        for t in reversed(range(value.shape[0])):
            terminated, truncated = rollout.step.terminated[t, e], rollout.step.truncated[t, e]
            delta = rewards[t, e] + 0.9 * (0 if terminated else later[t, e]) - value[t, e]
            total = delta + (0 if terminated or truncated else 0.9 * 0.8 * total)
            advantage[t, e] = total
    target = advantage + value
    return {"log_probability": log_p, "value": value, "advantage": advantage, "target": target}


def assert_learns_from(items: Any, expected: dict[str, np.ndarray]) -> None:
    """Every epoch visits every step once."""
    names = list(expected)
    rows = np.stack([expected[n].reshape(-1) for n in names], axis=1)
    for epoch in range(2):
        got = [np.asarray(getattr(items, n)).reshape(2, -1)[epoch] for n in names]
        got = np.stack(got, axis=1)
        order, wanted = np.argsort(got[:, 0]), np.argsort(rows[:, 0])
        np.testing.assert_allclose(got[order], rows[wanted], rtol=2e-4, atol=2e-4)


def test_advantages_against_a_loop(plain):
    both = plain.rollout.step
    assert both.terminated.any()
    assert both.truncated.any()
    expected = by_hand(plain.rollout, both.reward)
    advantages = tasks.generalised_advantages(
        *map(jnp.asarray, (both.reward, expected["value"], both.observation @ Tabular().value)),
        *map(jnp.asarray, (both.terminated, both.truncated)),
        discount=0.9,
        gae_lambda=0.8,
    )
    np.testing.assert_allclose(advantages, expected["advantage"], rtol=1e-4, atol=1e-4)


def test_what_is_learnt_from_is_what_was_played(plain):
    assert plain.items.observation.shape == (8, 4, 3)
    assert_learns_from(plain.items, by_hand(plain.rollout, plain.rollout.step.reward))
    first, second = plain.items.log_probability.reshape(2, -1)
    assert not np.array_equal(first, second)


def test_statistics_are_frozen_within_a_rollout(scaled):
    before, rollout = scaled.before, scaled.rollout
    rewards = rollout.step.reward / np.sqrt(before.returns.variance + 1e-8)
    show = lambda o: (o - before.seen.mean) / np.sqrt(before.seen.variance + 1e-8)
    expected = by_hand(rollout, rewards, show)
    centred = expected["advantage"] - expected["advantage"].mean()
    expected["advantage"] = centred / centred.std(ddof=1)
    assert_learns_from(scaled.items, expected)


def test_statistics_are_those_of_what_was_acted_on(scaled):
    """After two rollouts; the first is played again."""

    @eqx.filter_jit
    def first(stream):
        state = stream.init(key=KEY)
        play_key, _ = jax.random.split(jax.random.key(4))
        act = stream._actor(state, LEARNER, greedy=False)
        return play(stream.world, state.values, state.players, act, STEPS, key=play_key)[1]

    rollouts = [first(scaled.stream), scaled.rollout]
    seen = np.concatenate([r.observation[:, 0] for r in rollouts])
    np.testing.assert_allclose(scaled.after.seen.mean, seen.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(scaled.after.seen.variance, seen.var(axis=0), rtol=1e-4)
    totals, total = [], 0.0
    for r in rollouts:
        over = r.step.terminated | r.step.truncated
        for reward, ended in zip(r.step.reward[:, 0], over[:, 0], strict=True):
            total = 0.9 * total + float(reward)
            totals.append(total)
            total = 0.0 if ended else total
    np.testing.assert_allclose(scaled.after.returns.variance, np.var(totals), rtol=1e-4)
    assert scaled.after.seen.count == 2 * STEPS


def test_metrics_of_episodes(plain):
    rollout = plain.rollout
    ended = rollout.step.terminated | rollout.step.truncated
    assert plain.metrics["num_episodes"] == ended.sum() > 2
    mean = lambda x: x[ended].mean()
    np.testing.assert_allclose(plain.metrics["episode_return"], mean(rollout.total), rtol=1e-5)
    np.testing.assert_allclose(plain.metrics["episode_length"], mean(rollout.length))
    np.testing.assert_allclose(plain.metrics["reward"], rollout.step.reward.mean(), rtol=1e-5)
    assert plain.metrics["parameter"] == rollout.parameter[-1, 0]


def test_advantages_are_normalised_within_a_minibatch(plain):
    stream = counting(advantages="minibatch")
    item = jax.tree.map(lambda x: jnp.asarray(x[1]), plain.items)
    advantage = stream.batch(plain.before, item).advantage
    np.testing.assert_allclose(advantage.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(np.std(advantage, ddof=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(counting().batch(plain.before, item).advantage, item.advantage)


def test_evaluation_and_samples_have_the_parameter_of_the_task():
    stream = counting(num_evaluation_environments=3, evaluation_steps=6)

    @eqx.filter_jit
    def look(task):
        state = eqx.tree_at(lambda s: s.task, stream.init(key=KEY), task)
        begin_key, play_key = jax.random.split(KEY)
        values = jnp.full(4, state.values[task])
        players = begin(stream.world, values, 3, key=begin_key)
        act = stream._actor(state, LEARNER, greedy=True)
        _, rollout = play(stream.world, values, players, act, 6, key=play_key)
        batch = stream.sample(state, LEARNER, 30, "train", key=KEY)
        return batch, rollout, stream.evaluate(state, LEARNER, key=KEY)

    for task, parameter in enumerate((0.5, 1.5)):
        batch, rollout, row = look(jnp.asarray(task))
        np.testing.assert_allclose(batch.observation[:, 2], parameter)
        np.testing.assert_allclose(np.std(batch.advantage, ddof=1), 1, rtol=1e-4)
        np.testing.assert_allclose(rollout.parameter, parameter)
        mean = rollout.observation @ Tabular().mean.T
        np.testing.assert_allclose(rollout.action, mean, rtol=1e-5, atol=1e-6)
        # The first episode of each alone.
        ends = [np.flatnonzero(rollout.ended[:, e])[0] for e in range(3)]
        totals = [float(rollout.total[t, e]) for e, t in enumerate(ends)]
        np.testing.assert_allclose(row["evaluation_return"], np.mean(totals), rtol=1e-5)
        np.testing.assert_allclose(row["evaluation_length"], np.mean(ends) + 1)
        assert batch.observation.shape == (30, 3)
        assert len(np.unique(batch.observation[:, 1])) > 6


def surrogate(clip_value: bool = False) -> ClippedSurrogate:
    clip, value_weight, entropy_weight = map(jnp.asarray, (0.2, 0.7, 0.03))
    return ClippedSurrogate(clip, value_weight, entropy_weight, clip_value)


@pytest.mark.parametrize("clip_value", [False, True])
def test_surrogate_against_numpy(clip_value):
    rng = np.random.default_rng(1)
    n = 200
    mean, log_std, action = rng.normal(size=(3, n, 2))
    old = scipy.stats.norm.logpdf(action, mean, np.exp(log_std)).sum(axis=1)
    old = old + 0.3 * rng.normal(size=n)
    advantage, target, value = rng.normal(size=(3, n))
    then = value + 0.4 * rng.normal(size=n)
    ratio = np.exp(scipy.stats.norm.logpdf(action, mean, np.exp(log_std)).sum(axis=1) - old)
    # Where the advantage is positive a ratio above 1.2 gains nothing more, where it is negative a
    # ratio below 0.8.
    capped = np.where(advantage > 0, np.minimum(ratio, 1.2), np.maximum(ratio, 0.8))
    squares = (value - target) ** 2
    if clip_value:
        near = np.clip(value, then - 0.2, then + 0.2)
        squares = np.maximum(squares, (near - target) ** 2)
    entropy = scipy.stats.norm.entropy(mean, np.exp(log_std)).sum(axis=1)
    expected = -capped * advantage + 0.7 * squares - 0.03 * entropy
    policy = models.GaussianPolicy(jnp.asarray(mean), jnp.asarray(log_std))
    outputs = models.PolicyAndValue(policy, jnp.asarray(value))
    arrays = map(jnp.asarray, (mean, action, old, advantage, target, then))
    losses = surrogate(clip_value).losses(outputs, PPOBatch(*arrays))
    np.testing.assert_allclose(losses, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("discrete", [False, True])
def test_curvature_of_a_policy(discrete):
    """The Hessian of the criterion; in Gauss-Newton matrices the divergence from the policy."""
    model = models.ActorCritic(3, 2, discrete=discrete, width=3, depth=1, key=KEY)
    x = jax.random.normal(KEY, (6, 3))
    outputs = jax.vmap(model)(x)[0]
    action = outputs.policy.sample(key=KEY)
    noise = jax.random.normal(jax.random.key(9), (4, 6))
    old = outputs.policy.log_probability(action) + 0.2 * noise[0]
    batch = PPOBatch(x, action, old, *noise[1:])
    loss = surrogate()
    risk = Risk(_forward, loss, batch, batch, batch_size=3)
    flat, unravel = jax.flatten_util.ravel_pytree(eqx.filter(model, eqx.is_inexact_array))
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    network = lambda p: jax.vmap(eqx.combine(unravel(p), static))(x)[0]
    hessian = jax.jit(jax.hessian(lambda p: loss.losses(network(p), batch).mean()))(flat)
    np.testing.assert_allclose(Hessian(risk, model).dense(), hessian, atol=1e-9)

    before: Any = outputs.policy

    def distance(p):
        new = network(p)
        if discrete:
            logs = jax.nn.log_softmax(before.logits), jax.nn.log_softmax(new.policy.logits)
            divergence = jnp.sum(jnp.exp(logs[0]) * (logs[0] - logs[1]), axis=1)
        else:
            mean, log_std = before.mean, before.log_std
            ratio = jnp.exp(2 * (log_std - new.policy.log_std))
            shift = (mean - new.policy.mean) ** 2 * jnp.exp(-2 * new.policy.log_std)
            divergence = jnp.sum(0.5 * (ratio + shift) + new.policy.log_std, axis=1)
        # With the network linearised, for the value is not at its target.
        line = jax.jvp(lambda q: network(q).value, (flat,), (p - flat,))[1] + outputs.value
        return jnp.mean(divergence + 0.7 * (line - batch.target) ** 2)

    expected = jax.jit(jax.hessian(distance))(flat)
    matrix = GaussNewton(risk, model)
    np.testing.assert_allclose(matrix.dense(), expected, atol=1e-9)
    values, gram = np.linalg.eigvalsh(expected), np.linalg.eigvalsh(matrix.gram().dense())
    kept = values[values > 1e-9]
    np.testing.assert_allclose(gram[-len(kept) :], kept, rtol=1e-6)


def _forward(model: Any, batch: PPOBatch) -> Any:
    return jax.vmap(model)(batch.observation)[0]


@pytest.mark.usefixtures("float64")
def test_sampled_gradients_have_the_covariance_of_the_curvature():
    policy = models.CategoricalPolicy(jnp.array([[0.3, -1.0, 1.0]]))
    outputs, loss = models.PolicyAndValue(policy, jnp.array([0.2])), surrogate()
    batch = PPOBatch(jnp.zeros((1, 1)), *[jnp.zeros(1)] * 5)
    flat, unravel = jax.flatten_util.ravel_pytree(outputs)
    ravel = lambda tree: jax.flatten_util.ravel_pytree(tree)[0]
    product = lambda t: ravel(loss.hessian_product(outputs, batch, unravel(t)))
    matrix = jax.jit(jax.vmap(product))(jnp.eye(flat.size))
    keys = jax.random.split(KEY, 20_000)
    drawn = jax.jit(jax.vmap(lambda k: ravel(loss.sampled_gradient(outputs, key=k))))(keys)
    np.testing.assert_allclose(np.cov(drawn.T), matrix, atol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.03)


def test_kfac_names_what_is_no_layer():
    model = models.ActorCritic(3, 2, width=3, depth=1, key=KEY)
    x = jnp.ones((2, 3))
    batch = PPOBatch(x, x[:, :2], *[jnp.zeros(2)] * 4)
    with pytest.raises(ValueError, match="layers: log_std. There are no Kronecker factors"):
        KFAC(Risk(_forward, surrogate(), batch, batch), model)


def test_probes_take_the_loss_of_the_stream():
    stream = point_mass()
    state, own = stream.init(key=KEY), learner_of(actor_critic(key=KEY))
    risk = Sampler(own, stream, state, 8, "train").risk(key=KEY)
    assert eqx.tree_equal(risk.loss, stream.surrogate)
    # A fresh rollout is that of the policy itself: all ratios are 1.
    outputs = risk.forward(own.model, risk.inputs)
    np.testing.assert_allclose(stream.surrogate.ratio(outputs, risk.targets), 1, rtol=1e-5)
    np.testing.assert_allclose(
        risk(own.model), stream.criterion(outputs, risk.targets)[0], rtol=1e-5
    )


def learner_of(model: Any) -> Learner:
    return Learner(model, None, algorithms.bp().optimiser)


class Exploding(tasks.AbstractEnvironment):
    """Physics that ends in numbers that are none, in the second task."""

    observation_size: int = eqx.field(static=True, default=1)
    action_size: int = eqx.field(static=True, default=2)
    discrete: bool = eqx.field(static=True, default=True)

    def reset(self, parameter, *, key):
        return jnp.zeros(1), jnp.zeros(1)

    def step(self, state, action, parameter, *, key):
        state = state + jnp.where(parameter > 1, jnp.nan, 0.1) + action
        no = jnp.asarray(False)
        return state, tasks.Step(state, state[0], no, no)


def test_physics_that_diverges_stops_the_run():
    """A choice among actions, too."""
    world = ChangingEnvironment(Exploding(), Cycle((0.5, 1.5)), 8)
    stream = PPO(
        world,
        num_tasks=2,
        steps_per_rollout=8,
        epochs=1,
        minibatches_per_epoch=2,
        num_evaluation_environments=0,
    )
    model = models.ActorCritic(1, 2, discrete=True, width=3, depth=1, key=KEY)
    with pytest.raises(Diverged, match="The data became non-finite in task 1 at step 2") as report:
        train_continual(model, stream, algorithms.bp(1e-3))
    assert "Look at the data of that task or the environment" in str(report.value)
    history = report.value.history
    assert np.isfinite(history["reward"][0]).all()
    assert np.isfinite(history["loss"][0]).all()
    assert np.isnan(history["loss"][1]).all()
    # Nor was there an evaluation.
    assert "evaluation_return" not in history
    # No episode has ended.
    assert np.isnan(history["episode_return"]).all()
    assert not history["num_episodes"][0].any()


def test_a_run_that_diverges_plays_no_further():
    """Of two rollouts in the second task the first explodes; what it collected is kept."""
    world = ChangingEnvironment(Exploding(), Cycle((0.5, 1.5)), 16)
    sizes: Any = {"steps_per_rollout": 8, "epochs": 1, "minibatches_per_epoch": 2}
    stream = PPO(world, num_tasks=2, num_evaluation_environments=0, **sizes)
    model = models.ActorCritic(1, 2, discrete=True, width=3, depth=1, key=KEY)
    algo = algorithms.bp(1e-3)
    run, history = eqx.filter_jit(train_tasks)(model, stream, algo, key=KEY)
    assert int(run.divergence.step) == 4
    assert bool(run.divergence.in_data)
    assert not bool(run.divergence.in_weights)
    assert run.stream.players.phase.steps.tolist() == [24]
    np.testing.assert_array_equal(np.isnan(history["loss"]), [[False, False], [True, True]])
    np.testing.assert_array_equal(np.isnan(history["parameter"]), [[False, False], [False, True]])


def test_a_rate_that_is_too_high_is_no_fault_of_the_data():
    model = models.ActorCritic(2, 1, width=3, depth=1, key=KEY)
    with pytest.raises(Diverged, match="lower the learning rate") as report:
        train_continual(model, point_mass(num_tasks=1), algorithms.bp(1e30))
    assert report.value.what in ("loss", "weights")
    assert np.isfinite(report.value.history["reward"][0, 0])


def test_a_policy_may_be_at_fault_for_the_data():
    """Its weights are finite, and the squares of its actions are not."""
    model = models.ActorCritic(2, 1, width=3, depth=1, initial_log_std=50.0, key=KEY)
    with pytest.raises(Diverged, match="where the network takes part .* lower the learn") as report:
        train_continual(model, point_mass(num_tasks=1), algorithms.bp(1e-3))
    assert report.value.what == "data"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"steps_per_rollout": 18},
            "`steps_per_rollout` is 18, but must be a multiple of `minibatches_per_epoch`",
        ),
        (
            {"num_environments": 3},
            "`steps_per_rollout` is 16, but must be a multiple of `environments`, which is 3",
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
            "`steps_per_rollout` is 24, .* 11 steps more than its 13.*, such as 24",
        ),
        ({"advantages": "batch"}, "`advantages`: Kind 'batch' does not exist"),
        ({"evaluation_steps": 0}, "`evaluation_steps` is 0"),
    ],
)
def test_bad_settings(options, message, monkeypatch):
    # The type checker of the tests would refuse an unknown kind first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        counting(**options)


def test_bad_discounts():
    world = ChangingEnvironment(Counting(), Cycle((0.5, 1.5)), 2048)
    with pytest.raises(ValueError, match="`discount` is 1.5"):
        PPO(world, discount=1.5)
    with pytest.raises(ValueError, match="`gae_lambda` is -0.1"):
        PPO(world, gae_lambda=-0.1)
    with pytest.raises(ValueError, match="more than a 32-bit counter holds"):
        PPO(world, num_tasks=2**21)


def test_choices_are_not_clipped():
    world = ChangingEnvironment(Exploding(), Cycle((0.5,)), 16)
    with pytest.raises(ValueError, match="`clip_actions` is True, but .* numbers of choices"):
        PPO(world, steps_per_rollout=16, clip_actions=True)


class Elsewhere(tasks.AbstractEnvironment):
    """Shows something else after the first step, and counts with numbers of Python."""

    observation_size: int = eqx.field(static=True, default=3)
    action_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)
    shown: int = eqx.field(static=True, default=4)

    def reset(self, parameter, *, key):
        return {"steps": 0, "height": 1.0}, jnp.zeros(3)

    def step(self, state, action, parameter, *, key):
        state["steps"] = state["steps"] + 1
        state["height"] = 2
        return state, tasks.Step(jnp.ones(self.shown, int), 1, False, False)


class Mistaken(tasks.AbstractEnvironment):
    observation_size: int = eqx.field(static=True, default=3)
    action_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)

    def reset(self, parameter, *, key):
        return jnp.zeros(2), jnp.zeros(2)

    def step(self, state, action, parameter, *, key):
        raise AssertionError("A network that does not fit is refused before the first step.")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.ActorCritic(2, 1, width=3, key=KEY), "takes vectors of 2"),
        (models.ActorCritic(3, 2, width=3, key=KEY), "a vector of 1: make an .*`out_size=1`"),
        (models.ActorCritic(3, 1, discrete=True, width=3, key=KEY), "`discrete=False`"),
        (models.MLP(3, 1, width=3, key=KEY), "PPO needs a `PolicyAndValue`"),
    ],
)
def test_networks_that_do_not_fit(model, message):
    with pytest.raises(ValueError, match=message):
        check_parts(model, counting(), algorithms.bp())


def test_an_environment_that_shows_something_else():
    world = ChangingEnvironment(Mistaken(), Cycle((1.0,)), 16)
    with pytest.raises(ValueError, match=r"shows observations of shape \(2,\), but says .* 3"):
        check_parts(Tabular(), PPO(world, steps_per_rollout=16), algorithms.bp())
    world = ChangingEnvironment(Elsewhere(), Cycle((1.0,)), 16)
    with pytest.raises(ValueError, match=r"shows observations of shape \(4,\), but says .* 3"):
        check_parts(Tabular(), PPO(world, steps_per_rollout=16), algorithms.bp())


def test_numbers_of_python_are_numbers():
    limited = tasks.TimeLimit(Elsewhere(shown=3), 4)
    stream = PPO(
        ChangingEnvironment(limited, Cycle((1.0,)), 16), num_tasks=1, steps_per_rollout=16, epochs=1
    )
    _, history = train_continual(Tabular(), stream, algorithms.bp())
    np.testing.assert_array_equal(history["episode_return"], [[4.0]])
    np.testing.assert_array_equal(history["num_episodes"], [[4.0]])


def test_what_is_no_world(monkeypatch):
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


def test_one_step_has_no_advantage():
    stream = point_mass()
    state, own = stream.init(key=KEY), learner_of(actor_critic(key=KEY))
    with pytest.raises(ValueError, match="`n` is 1, but must be an integer of at least 2"):
        stream.sample(state, own, 1, "train", key=KEY)


def test_statistics_keep_numbers_within_ten_once_there_are_any():
    far = jnp.array([100.0, -100.0])
    nothing = Moments.none(())
    np.testing.assert_allclose(nothing.scale(far), far, rtol=1e-6)
    np.testing.assert_allclose(nothing.standardise(far), far, rtol=1e-6)
    some = nothing.including(jnp.array([1.0, 3.0]))
    np.testing.assert_array_equal(some.scale(far), [10, -10])
    np.testing.assert_array_equal(some.standardise(far), [10, -10])
    np.testing.assert_allclose(some.standardise(jnp.array([3.0])), [1.0], rtol=1e-5)


def best_return(start: np.ndarray, friction: float, steps: int) -> np.ndarray:
    """Of the point mass, by a Riccati equation."""
    a = np.array([[1, 0.1 * (1 - 0.1 * friction)], [0, 1 - 0.1 * friction]])
    b, cost = np.array([[0.01], [0.1]]), np.zeros((2, 2))
    for _ in range(steps):
        now = cost + np.diag([1.0, 0.0])
        gain = np.linalg.solve(0.1 + b.T @ now @ b, b.T @ now @ a)
        cost = a.T @ now @ (a - b @ gain)
    return -np.einsum("ni,ij,nj->n", start, cost, start)


@pytest.mark.slow
def test_ppo_reaches_the_optimum_of_the_point_mass():
    """Within 60,000 steps and 5 % of the best controller, on the same starts, for five seeds."""
    limited = tasks.TimeLimit(tasks.PointMass(), 50)
    world = ChangingEnvironment(limited, Cycle((1.0,)), 60_000)
    options = {
        "num_environments": 8,
        "steps_per_rollout": 1000,
        "minibatches_per_epoch": 10,
        "discount": 0.98,
    }
    stream = PPO(world, num_tasks=1, num_evaluation_environments=64, evaluation_steps=50, **options)

    @eqx.filter_jit
    def run(key):
        keys = jax.random.split(key)
        options = {"width": 32, "activation": "tanh", "initial_log_std": -0.5}
        model = models.ActorCritic(2, 1, key=keys[0], **options)
        algo = algorithms.bp(algorithms.adam(1e-3))
        after, _ = train_tasks(model, stream, algo, key=keys[1])
        begin_key, _ = jax.random.split(KEY)
        values = after.stream.present(stream.world)
        start = begin(world, values, 64, key=begin_key).observation
        return start, stream.evaluate(after.stream, after.learner, key=KEY)["evaluation_return"]

    for seed in range(5):
        start, reached = run(jax.random.key(seed))
        best = best_return(np.asarray(start), 1.0, 50).mean()
        assert 1.05 * best < reached <= 0.99 * best
