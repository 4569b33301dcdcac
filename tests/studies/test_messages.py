"""Every mistake in an experiment gives one message that names the setting, and writes nothing."""

import sys

import pytest

from spectral.studies.command_line._main import main


MISTAKES = {
    "unknown setting": ("seeds: 2", "seds: 2", ["`seds`", "did you mean 'seeds'"]),
    "seeds": ("seeds: 2", "seeds: two", ["`seeds` is 'two'", "integer of at least 1"]),
    "no seeds": ("seeds: 2", "seeds: 0", ["`seeds` is 0", "at least 1"]),
    "many seeds": ("seeds: 2", "seeds: 99999999999", ["`seeds` is 99999999999", "at most 10000"]),
    "true seeds": ("seeds: 2", "seeds: yes", ["`seeds` is True"]),
    "no model": ("model:", "probes2:", ["`probes2`"]),
    "constructor": ("type: bp", "type: pb", ["`algorithms.bp.type`", "'pb'", "did you mean 'bp'"]),
    "algorithm that is a network": (
        "type: bp",
        "type: MLP",
        ["`algorithms.bp.type`", "'MLP'", "l2_er"],
    ),
    "abstract": (
        "type: MLP",
        "type: AbstractNetwork",
        ["`model.type`", "Allowed: ActorCritic, ConvNet, Dueling, "],
    ),
    "no type": ("type: bp, ", "", ["`algorithms.bp`", "must be a mapping with the `type`"]),
    "argument": ("num_tasks", "num_taks", ["`stream.num_taks`", "did you mean 'num_tasks'"]),
    "nested": ("order: 4", "ordr: 4", ["`probes.hessian.estimator.ordr`", "did you mean 'order'"]),
    "key": ("width: 4", "key: 4", ["`model.key`", "Argument of MLP 'key' does not exist"]),
    "missing": (
        "images: {type: load_images, name: digits}",
        "",
        ["`stream.images` is missing", "load_images"],
    ),
    "text": ("lr: 1e-2", "lr: fast", ["`algorithms.bp.lr` is 'fast'", "must be a number"]),
    "bool": ("lr: 1e-2", "lr: yes", ["`algorithms.bp.lr` is True", "must be a number"]),
    "null": ("lr: 1e-2", "lr:", ["`algorithms.bp.lr` is None", "must be a number"]),
    "float": ("num_tasks: 4", "num_tasks: 4.0", ["`stream.num_tasks` is 4.0", "an integer"]),
    "number": ("name: digits", "name: 3", ["`stream.images.name` is 3,", "must be text"]),
    "list": ("every: 2", "every: [2]", ["`probes.hessian.every` is [2]", "an integer"]),
    "literal": (
        "dead: {type: DeadUnits",
        "dead: {type: DeadUnits, when: [begin]",
        ["`probes.dead.when.0` is 'begin'", "'start' or 'end'"],
    ),
    "activation": (
        "width: 4",
        "activation: tahn",
        ["`model.activation` is 'tahn'", "'relu' or 'tanh'"],
    ),
    "misplaced": (
        "estimator: {type: Lanczos, order: 4}",
        "estimator: {type: MLP}",
        ["`probes.hessian.estimator.type`", "Allowed: ", "Lanczos"],
    ),
    "zero rate": ("lr: 1e-2", "lr: 0", ["`algorithms.bp.lr` is 0.0", "above 0"]),
    "no width": ("width: 4", "width: 0", ["`model.width` is 0", "at least 1"]),
    "no tasks": ("num_tasks: 4", "num_tasks: 0", ["`stream.num_tasks` is 0", "at least 1"]),
    "batch": (
        "num_tasks: 4",
        "num_tasks: 4\n  minibatch_size: 2000",
        ["`stream.minibatch_size` is 2000", "1500"],
    ),
    "data": ("name: digits", "name: digit", ["`stream.images`", "did you mean 'digits'"]),
    "no algorithms": ("  bp: {type: bp, lr: 1e-2}", "  {}", ["`algorithms` is {}"]),
    "name": ("  bp:", "  ../bp:", ["`algorithms` has the name '../bp'"]),
    "folder as name": ("  bp:", "  figures:", ["`algorithms` has the name 'figures'", "a folder"]),
    "long name": ("  bp:", f"  {'b' * 300}:", ["of 300 characters", "at most 200"]),
    "zero in float32": ("lr: 1e-2", "lr: 1e-50", ["`algorithms.bp.lr` is 1e-50", "1.18e-38"]),
    "depth": ("depth: 1", "depth: 100000", ["`model.depth` is 100000", "at most 1000"]),
    "number as name": ("  dead:", "  1:", ["`probes` has the name 1"]),
    # Found when the program is traced:
    "outputs": (
        "model: {type: MLP, width: 4, depth: 1}",
        "model: {type: ActorCritic}",
        ["In `model`", "outputs of PolicyAndValue", "10 classes"],
    ),
    "more outputs": ("width: 4", "width: 4, out_size: 11", ["make one with `out_size=10`"]),
    "period": (
        "type: bp, lr: 1e-2",
        "type: er, er_period: 7",
        ["In `algorithms.bp`", "period of 7", "20 minibatches"],
    ),
    "examples": (
        "DeadUnits, num_examples: 50",
        "DeadUnits, num_examples: 5000",
        ["In `probes.dead`", "5000", "1500 rows"],
    ),
    "probe period": ("every: 2", "every: 0", ["In `probes.hessian`", "every", "is 0"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake, tiny, tmp_path, monkeypatch, capsys):
    old, new, parts = MISTAKES[mistake]
    path = tiny(old, new)
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("spectral run: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.yaml"]


CART = (
    "{type: PPO, num_tasks: 1, world: {type: ChangingEnvironment, steps_per_task: 10, "
    "environment: {type: Gymnax, name: CartPole-v1}, schedule: {type: Cycle, each: [1.0]}}}"
)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--set", "stream.num_taks=3"], "did you mean 'num_tasks'"),
        (["--set", "stream.num_tasks=many"], "`stream.num_tasks` is 'many'"),
        (["--set", "algorithms.l2.lr=3"], "`algorithms.l2`: Name 'l2' does not exist"),
        (["--seeds", "0"], "`seeds` is 0"),
        (["--set", "preset=foo"], "`preset` is 'foo', but the settings have no `benchmark`"),
        (["--set", "stream.images.name=mnist", "--data-dir", "nowhere"], "'nowhere'"),
        (["--out", "tiny.yaml", "--set", "probes={}"], "which is a file"),
        (
            ["--log", "wandb", "--set", "probes={}"],
            "`--log wandb`: `WeightsAndBiases` needs the package wandb",
        ),
        (["--set", f"stream={CART}"], "In `stream.world.environment`: `Gymnax` needs"),
    ],
)
def test_mistake_in_options(arguments, part, tiny, tmp_path, monkeypatch, capsys):
    path = tiny()
    for package in ("wandb", "gymnax"):  # as if they were not installed
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(path), *arguments]) == 2
    assert part in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.yaml"]


@pytest.mark.parametrize("section", ["stream", "model", "algorithms"])
def test_missing_section(section, tmp_path, capsys):
    lines = {"stream": "{type: PermutedImages}", "model": "{type: MLP}", "algorithms": "{}"}
    path = tmp_path / "x.yaml"
    path.write_text("\n".join(f"{k}: {v}" for k, v in lines.items() if k != section))
    assert main(["run", str(path)]) == 2
    assert f"`{section}` is missing" in capsys.readouterr().err


def test_usage_errors_exit_with_2(tiny, capsys):
    for arguments in ([], ["run"], ["run", str(tiny()), "--resume", "--overwrite"], ["fly"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err
