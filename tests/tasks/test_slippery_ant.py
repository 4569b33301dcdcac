"""The presets of Slippery Ant, and the presets of single algorithms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from spectral import algorithms, studies
from spectral.algorithms import Algorithm
from spectral.models import AbstractNetwork, ActorCritic
from spectral.probes import AbstractProbe
from spectral.studies.experiment._parse import parse
from spectral.tasks import AbstractTaskStream, LogUniform, PPO, TimeLimit


ALGORITHMS = {
    "paper": {"bp", "er", "l2_er", "cbp_l2", "l2"},
    "dohare": {"bp", "l2", "cbp_l2"},
    "small": {"bp", "l2", "l2_er", "cbp_l2"},
}


@pytest.mark.parametrize("preset", ALGORITHMS)
def test_presets(preset):
    benchmark = studies.slippery_ant(preset=preset)
    settings = benchmark.settings
    assert benchmark.smaller == ()
    assert set(settings["algorithms"]) == ALGORITHMS[preset]
    for name, section in settings["algorithms"].items():
        algo = parse(section, Algorithm, name, {}).make()
        # All algorithms have equal betas, except those of Dohare et al.
        betas = [float(algo.optimiser.hyper[b]) for b in ("b1", "b2")]
        own = preset == "dohare" and name != "bp"
        assert betas == pytest.approx([0.99, 0.99] if own else [0.9, 0.999])
    for name, section in settings["probes"].items():
        parse(section, AbstractProbe, name, {}).make()
    stream = parse(settings["stream"], AbstractTaskStream, "stream", {}).make()
    assert isinstance(stream, PPO)
    sizes = {"in_size": stream.in_size, "out_size": stream.out_size}
    assert sizes == {"in_size": 27, "out_size": 8}
    parse(settings["model"], AbstractNetwork, "model", sizes)
    world, published = stream.world, preset != "small"
    assert isinstance(world.environment, TimeLimit)
    assert isinstance(world.schedule, LogUniform)
    assert (world.environment.terminal, world.environment.steps) == (published, 1000)
    assert (stream.steps_per_rollout, stream.num_environments) == (2048, 1)
    if published:
        # A task has 976.56 rollouts.
        assert (world.steps_per_task, stream.chunks_per_task) == (2_000_000, 977)
        assert (stream.epochs, float(stream.discount)) == (10, pytest.approx(0.99))
    minibatches = {"paper": 1280, "dohare": 160, "small": 64}
    assert stream.minibatches == minibatches[preset]
    assert world.change == ("episode" if preset == "dohare" else "step")
    assert (world.schedule.seed is None) == (preset == "dohare")
    assert stream.surrogate.clip_value == (preset == "paper")
    assert float(stream.surrogate.entropy_weight) == pytest.approx(0.01 * (preset == "paper"))
    assert stream.advantages == ("minibatch" if preset == "paper" else "rollout")


@pytest.mark.parametrize("make", [studies.continual_imagenet, studies.incremental_cifar])
def test_presets_of_algorithms_match_those_of_studies(make):
    for name, section in make("dohare").settings["algorithms"].items():
        own = parse(section, Algorithm, name, {}).make()
        single = algorithms.preset(make.__name__, name, source="dohare")
        assert eqx.tree_equal(own, single)
        assert len(own.transforms) > 0


def test_effective_rank_rates():
    """The published rates belong to the mean of the actor plus that of the critic. Here they
    belong to the mean of all layers."""
    look = lambda key: ActorCritic(27, 8, depth=1, width=2, key=key)(jnp.zeros(27))
    taps = eqx.filter_eval_shape(look, jax.random.key(0))[1]
    owners = [name.split("_")[0] for name in taps]
    assert owners.count("actor") == owners.count("critic")
    published = {"er": 1e-7, "l2_er": 1e-6}
    for name, rate in published.items():
        section = studies.slippery_ant("paper").settings["algorithms"][name]
        assert section["er_lr"] == pytest.approx(2 * rate)


def test_scale():
    smaller = studies.slippery_ant("paper", scale=0.1)
    stream = smaller.settings["stream"]
    assert (stream["num_tasks"], stream["world"]["steps_per_task"]) == (1, 200_000)
    assert smaller.settings["model"]["width"] == 26
    assert len(smaller.smaller) > 2
