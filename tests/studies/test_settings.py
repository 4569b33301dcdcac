import math

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from spectral import algorithms, curvature, probes, tasks
from spectral.studies import load_experiment, make_experiment, SettingsError
from spectral.studies.experiment._constructors import constructors, describe, makers, parameters
from spectral.studies.experiment._parse import parse
from spectral.studies.experiment._settings import differences, override, read_settings
from spectral.studies.published._load import read_experiment


pytestmark = pytest.mark.usefixtures("untraced")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 1e-3), ("2E5", 2e5), ("1.5e-3", 1.5e-3), ("-1e3", -1e3), (".5", 0.5), ("1.", 1.0)],
)
def test_floats_need_no_point(tmp_path, text, number):
    path = tmp_path / "x.yaml"
    path.write_text(f"a: {text}\nb: 1_000\nc: 1e\nd: .inf\ne: 0x10")
    settings = read_settings(path)
    assert settings["a"] == number
    assert isinstance(settings["a"], float)
    assert settings["b"] == 1000
    assert isinstance(settings["b"], int)
    assert settings["c"] == "1e"
    assert settings["d"] == math.inf
    assert settings["e"] == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"line 3, column 1.*'a' is given twice"),
        ("a: {b: 1, b: 2}", r"line 1, column 11.*'b' is given twice"),
        ("a: [1", r"line 1, column 6.*not valid YAML"),
        ("a: !!python/object:os.system x", r"not valid YAML"),
        ("- 1", r"must hold a mapping"),
        ("", r"holds None, but must hold a mapping"),
    ],
)
def test_read_settings_rejects_invalid_yaml(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_settings(path)


def test_read_settings_rejects_unreadable_files(tmp_path):
    with pytest.raises(SettingsError, match="no.yaml' cannot be read: No such file"):
        read_settings(tmp_path / "no.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_settings(tmp_path / "x.yaml")


def test_merge_keys_still_work(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &base {x: 1}\nb: {<<: *base, y: 2}")
    settings = read_settings(path)
    assert settings["b"] == {"x": 1, "y": 2}
    assert override(settings, "b.x=5")["a"] == {"x": 1}


def test_override():
    settings = {"stream": {"type": "X", "n": 1, "inner": {"m": 2}}}
    changed = override(settings, "stream.inner.m=1e-3")
    assert changed == {"stream": {"type": "X", "n": 1, "inner": {"m": 1e-3}}}
    assert settings["stream"]["inner"]["m"] == 2
    assert override(settings, "stream.new={a: [1, b=c]}")["stream"]["new"] == {"a": [1, "b=c"]}
    assert override(settings, "probes={}")["probes"] == {}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stream.n", "must be a dotted path, `=` and a value"),
        ("=3", "must be a dotted path"),
        ("stream..n=3", "must be a dotted path"),
        ("strem.n=3", "`strem`: Name 'strem' does not exist.*did you mean 'stream'"),
        ("stream.inner.n=3", "`stream.inner.n`: Name 'n' does not exist. Allowed: m"),
        ("stream.n.m=3", "`stream.n` is 1 and has no part 'm'"),
        ("stream.n=[", "--set stream.n, line 1.*not valid YAML"),
    ],
)
def test_override_rejects(assignment, message):
    settings = {"stream": {"type": "X", "n": 1, "inner": {"m": 2}}}
    with pytest.raises(SettingsError, match=message):
        override(settings, assignment)


def test_differences():
    """An option that an older version did not have is the same as None, and as nothing else."""
    old = {"a": {"b": 1, "c": [1, 2]}, "d": 1, "f": None}
    new = {"a": {"b": 2, "c": [1, 2], "g": None}, "e": False}
    assert list(differences(old, new)) == [
        "`a.b` was 1 and is now 2",
        "`d` was 1 and is now absent",
        "`e` was absent and is now False",
    ]
    assert not list(differences(old, old))


def test_constructors_are_found_by_return_type():
    assert "PermutedImages" in constructors(tasks.AbstractTaskStream)
    assert "AbstractTaskStream" not in constructors(tasks.AbstractTaskStream)
    assert {"bp", "l2", "er", "l2_er"} <= constructors(algorithms.Algorithm).keys()
    assert "load_images" in constructors(tasks.ImageSet)
    estimator = parameters(probes.HessianSpectrum)["estimator"].annotation
    assert constructors(estimator)["Lanczos"] is curvature.Lanczos
    assert "MLP" not in constructors(estimator)


def test_new_constructor_needs_no_registration(tiny, monkeypatch):
    def gentle(lr: float = 1e-5) -> algorithms.Algorithm:
        return algorithms.bp(lr)

    monkeypatch.setattr(algorithms, "gentle", gentle, raising=False)
    experiment = load_experiment(tiny("type: bp, lr: 1e-2", "type: gentle"))
    assert experiment.settings["algorithms"] == {"bp": {"type": "gentle", "lr": 1e-5}}


def test_description_of_allowed_values():
    of = lambda constructor, name: describe(parameters(constructor)[name].annotation)
    assert of(algorithms.L2, "weight_decay") == "a number"
    assert of(tasks.PermutedImages, "steps_per_task") == "an integer or null"
    assert of(probes.DeadUnits, "when") == "a list (of 'start' or 'end')"
    assert of(tasks.load_images, "data_dir") == "text or null"
    assert "MatfreeLanczos or `package.module:Name` or null" in of(
        probes.HessianSpectrum, "estimator"
    )
    assert "only Python can give it" in of(curvature.Convex, "function")


def test_matrix_is_given_by_name(tiny):
    annotation = parameters(probes.HessianSpectrum)["matrix"].annotation
    assert {"Hessian", "GaussNewton", "Fisher", "Gram"} <= makers(annotation).keys()
    assert not {"Matrix", "Function", "Block", "Sum", "Lanczos"} & makers(annotation).keys()
    plain = load_experiment(tiny()).settings["probes"]["hessian"]
    assert plain["matrix"] == "Hessian"
    other = tiny("type: HessianSpectrum", "type: HessianSpectrum, matrix: GaussNewton")
    experiment = load_experiment(other)
    assert experiment.settings["probes"]["hessian"]["matrix"] == "GaussNewton"
    probe = experiment.probes["hessian"]
    assert isinstance(probe, probes.HessianSpectrum)
    assert probe.matrix is curvature.GaussNewton
    wrong = tiny("type: HessianSpectrum", "type: HessianSpectrum, matrix: Gauss")
    with pytest.raises(SettingsError, match="`probes.hessian.matrix` is 'Gauss'.*GaussNewton or"):
        load_experiment(wrong)


def test_matrix_is_given_with_options(tiny):
    given = "type: HessianSpectrum, matrix: {type: KFAC, separate_bias: true, layers: [layers.0]}"
    experiment = load_experiment(tiny("type: HessianSpectrum", given))
    plain = experiment.settings["probes"]["hessian"]["matrix"]
    assert plain["type"] == "KFAC"
    assert plain["separate_bias"] is True
    probe = experiment.probes["hessian"]
    assert isinstance(probe, probes.HessianSpectrum)
    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    data = jnp.eye(3), jnp.zeros((3, 2))
    risk = curvature.Risk(lambda m, x: jax.vmap(m)(x), curvature.SquaredError(), *data)
    made = probe.matrix(risk, model)
    assert isinstance(made, curvature.KFAC)
    assert set(made.eigenvalues()) == {"layers.0.weight", "layers.0.bias"}
    again = load_experiment(tiny("type: HessianSpectrum", given)).probes["hessian"]
    assert eqx.tree_equal(probe, again)  # so that they share a program
    for wrong, message in (
        ("{type: KFAC, risk: 1}", "probes.hessian.matrix.risk`: Argument of KFAC"),
        ("{type: KFAC, args: [1]}", "probes.hessian.matrix.args`: Argument of KFAC"),
        ("{type: KFAC, layers: 3}", "`probes.hessian.matrix.layers` is 3"),
        ("{type: Gauss}", "`probes.hessian.matrix.type`: .*'Gauss'.*GaussNewton"),
    ):
        path = tiny("type: HessianSpectrum", f"type: HessianSpectrum, matrix: {wrong}")
        with pytest.raises(SettingsError, match=message):
            load_experiment(path)


def test_resolved_settings_contain_defaults(tiny, tmp_path):
    experiment = load_experiment(
        tiny(),
        assignments=["algorithms.bp.lr=1", "probes.dead.when=[end]"],
        seeds=3,
        data_dir="somewhere",
    )
    settings = experiment.settings
    assert experiment.seeds == settings["seeds"] == 3
    assert settings["stream"]["minibatch_size"] == 1
    assert settings["stream"]["images"]["data_dir"] == "somewhere"
    sizes = {"in_size": 64, "out_size": 10, "width": 4, "depth": 1}
    options = {"activation": "relu", "layer_norm": False, "density": 1.0}
    options |= {"head_initialiser": None}
    assert settings["model"] == {"type": "MLP"} | options | sizes
    assert settings["algorithms"]["bp"] == {"type": "bp", "lr": 1.0}
    assert isinstance(settings["algorithms"]["bp"]["lr"], float)
    assert settings["probes"]["dead"]["when"] == ["end"]
    assert settings["probes"]["hessian"]["estimator"]["num_vectors"] == 3
    assert experiment.probes["dead"].when == ("end",)
    hessian = experiment.probes["hessian"]
    assert isinstance(hessian, probes.HessianSpectrum)
    assert isinstance(hessian.estimator, curvature.Lanczos)


def test_data_dir_argument_overrides_the_file(tiny):
    """So that `config.yaml`, which contains a `data_dir`, can be run on another machine."""
    path = tiny("name: digits", "name: digits, data_dir: mine")
    settings = load_experiment(path).settings
    assert settings["stream"]["images"]["data_dir"] == "mine"
    moved = make_experiment(settings, data_dir="other").settings
    assert moved["stream"]["images"]["data_dir"] == "other"
    assert settings["stream"]["images"]["data_dir"] == "mine"


def test_sizes_must_fit_the_stream(tiny):
    load_experiment(tiny(), assignments=["model.in_size=64"])
    for wrong in ("in_size=63", "in_size=65", "out_size=9"):
        with pytest.raises(SettingsError, match="`model..*the stream needs"):
            load_experiment(tiny(), assignments=[f"model.{wrong}"])
    assert (
        load_experiment(tiny(), assignments=["model.out_size=10"]).settings["model"]["out_size"]
        == 10
    )


def test_member_depends_only_on_the_seed(tiny):
    experiment = load_experiment(tiny())
    model, state, key = experiment.member(0)
    again, _, key_again = experiment.member(0)
    other, _, other_key = experiment.member(1)
    assert state is None
    assert eqx.tree_equal(model, again)
    assert key == key_again
    assert not eqx.tree_equal(model, other)
    assert key != other_key
    assert key == jax.random.fold_in(jax.random.key(0), 1)


def test_a_schedule_stands_for_a_learning_rate():
    lr = {"type": "WarmupCosine", "peak": 1, "decay_steps": 100, "restart": "task"}
    call = parse({"type": "bp", "lr": lr}, algorithms.Algorithm, "algorithms.a", {})
    (schedule,) = call.make().optimiser.schedules.values()
    assert (float(schedule.peak), float(schedule.decay_steps)) == (1, 100)
    assert schedule.restart == "task"
    with pytest.raises(SettingsError, match="`algorithms.a.lr.restart` is 'no'"):
        parse(
            {"type": "bp", "lr": lr | {"restart": "no"}}, algorithms.Algorithm, "algorithms.a", {}
        )


OWN = """
seeds: 5
stream: {type: X, n: 100, world: {type: Y, steps: 10}}
presets:
  small: {seeds: 1, stream.world.steps: 2}
  wrong: {stream.world.n.m: 1}
"""


def test_presets_of_a_file(tmp_path):
    """The changes of `--set` come after those of the preset."""
    path = tmp_path / "x.yaml"
    path.write_text(OWN)
    full = {"type": "X", "n": 100, "world": {"type": "Y", "steps": 10}}
    assert read_experiment(path) == ({"seeds": 5, "stream": full}, None)
    small, _ = read_experiment(path, ["preset=small", "stream.n=3"], seeds=2)
    assert small == {
        "seeds": 2,
        "stream": {"type": "X", "n": 3, "world": {"type": "Y", "steps": 2}},
    }
    for options, message in (
        (["preset=smal"], "`preset`: Preset 'smal' does not exist.*did you mean 'small'"),
        (["preset=[small]"], "Preset .*small.* does not exist"),
        (["preset=wrong"], "`stream.world.n`: Name 'n' does not exist|has no part"),
        (["scale=0.5"], "`scale` is 0.5, but the settings have `presets` of their own"),
    ):
        with pytest.raises(SettingsError, match=message):
            read_experiment(path, options)
    path.write_text("presets: {small: 3}")
    with pytest.raises(SettingsError, match="`presets` is {'small': 3}, but must hold the changes"):
        read_experiment(path)
