"""What the command line tells about itself, and what it says when it cannot be run."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

import spectral
from spectral import studies
from spectral.studies.command_line import _data
from spectral.studies.command_line._kinds import KINDS
from spectral.studies.command_line._main import main
from spectral.studies.command_line._parser import parser


ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = (
    "run",
    "sweep",
    "plot",
    "landscape",
    "predictors",
    "score",
    "report",
    "data",
    "list",
    "show",
    "init",
)
PATHS = (str(ROOT), os.environ.get("PYTHONPATH"))
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, PATHS))}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # output is then written when the process ends


def process(*arguments, **variables):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | variables)


def printed(*arguments, capsys) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_version():
    done = process("-m", "spectral", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"spectral-plasticity {spectral.__version__}\n"
    assert spectral.__version__.count(".") == 2


def test_help_imports_nothing_heavy():
    """Everything that the help of all commands imports comes with Python, except these."""
    code = (
        "import json, sys\n"
        "before = set(sys.modules)\n"
        "from spectral.studies.command_line._main import main\n"
        f"for arguments in [[], *([name] for name in {COMMANDS})]:\n"
        "    try: main([*arguments, '--help'])\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
        "own = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps(sorted(own - sys.stdlib_module_names)), file=sys.stderr)"
    )
    done = process("-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr) == ["lazy_loader", "spectral", "spectral_plasticity"]
    assert "--set PATH=VALUE" in done.stdout


def test_help_knows_every_command(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {name} " in text or f"    {name}\n" in text for name in COMMANDS)


@pytest.mark.parametrize("kind", KINDS)
def test_list(kind, capsys):
    lines = printed("list", kind, capsys=capsys).splitlines()
    known = dict(line.split(maxsplit=1) for line in lines)
    assert list(known) == sorted(known)
    expected = {
        "streams": ("PermutedImages", "Online classification of images whose pixels are permuted"),
        "models": ("MLP", "A multilayer perceptron."),
        "activations": ("smooth_leaky", "The activation slope x + (1 - slope) x sigmoid(steepness"),
        "algorithms": ("bp", "Backpropagation: plain stochastic gradient descent."),
        "probes": ("DeadUnits", "Records the fraction of units that are 0 on each of"),
        "operators": ("Hessian", "The matrix of second derivatives of a loss at given parameters."),
        "estimators": ("Lanczos", "Estimates a spectrum by stochastic Lanczos quadrature."),
        "benchmarks": ("slippery_ant", "Slippery Ant: PPO on an ant, with a ground friction that"),
    }
    name, start = expected[kind]
    assert known[name].startswith(start)
    for part in known:
        assert studies.describe_part(part).splitlines()[0].endswith(f".{part}")


def test_lines_are_sentences(capsys):
    text = printed("list", capsys=capsys)
    assert [line[:-1] for line in text.splitlines() if line[:1].strip()] == list(KINDS)
    parts = [line for line in text.splitlines() if line.startswith("  ")]
    assert all(line.endswith(".") and not line.endswith(" .") for line in parts)


def test_show(capsys):
    text = printed("show", "HessianSpectrum", capsys=capsys)
    assert text.startswith("spectral.probes.HessianSpectrum\n\nRecords the spectrum of the Hessian")
    assert "```" not in text
    assert "  epsilon: a number; default: 0.1\n      the threshold; the paper uses 0.1" in text
    assert "  matrix: the name EKFAC or Fisher" in text
    assert "default: Hessian\n" in text
    # Told by the docstring of `__init__`, and over two lines.
    text = printed("show", "PermutedImages", capsys=capsys)
    assert (
        "  images: a mapping with the `type` ImageSet or fewer_images or load_images or\n"
        "      `package.module:Name`; required\n" in text
    )
    assert "gradient steps in each task; by default one pass over the training rows." in text
    assert "  key:" not in printed("show", "MLP", capsys=capsys)
    assert "  preset: 'paper' or 'dohare'" in printed("show", "slippery_ant", capsys=capsys)


def test_show_rejects_an_unknown_name(capsys):
    assert main(["show", "l2_re"]) == 2
    assert "Part 'l2_re' does not exist." in (message := capsys.readouterr().err)
    assert message.endswith("did you mean 'l2_er'?\n")


def test_init(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    listed = printed("init", capsys=capsys)
    folder = ROOT / "examples"
    files = [p for p in folder.rglob("*.yaml") if p.parent.name != "own_everything"]
    names = [p.relative_to(ROOT / "examples").with_suffix("").as_posix() for p in files]
    known = dict(line.split(maxsplit=1) for line in listed.split("\n\n")[0].splitlines())
    assert sorted(known) == sorted(names)
    assert known["sweeps/digits"].endswith("keep the most plasticity over 60 tasks?")
    told = printed("init", "digits", "--out", "new/mine.yaml", capsys=capsys)
    assert told == "new/mine.yaml\n\nTo train it: spectral run new/mine.yaml\n"
    text = (tmp_path / "new" / "mine.yaml").read_text()
    assert "#     spectral run new/mine.yaml\n#     spectral plot runs/mine\n" in text
    example = yaml.safe_load((ROOT / "examples" / "digits.yaml").read_text())
    assert yaml.safe_load(text) == example
    told = printed("init", "sweeps/digits", capsys=capsys)
    assert told == "digits.yaml\n\nTo train it: spectral sweep digits.yaml\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["init", "digit"], "did you mean 'digits'?"),
        (
            ["init", "digits", "--out", "there.yaml"],
            "`--out` is 'there.yaml', which exists already",
        ),
        (["init", "digits", "--out", "there.yaml/x"], "cannot be written: File exists. Name anoth"),
        (["init", "--out", "x.yaml"], "`--out` is 'x.yaml', but no example is named"),
        (["plot", "there.yaml"], "'there.yaml' does not hold a run"),
        (["report", "nowhere"], "'nowhere' does not hold a run"),
        (["landscape", "nowhere", "--reach", "nan"], "`--reach` is nan, but must be finite"),
        (["run", "nowhere.yaml"], "'nowhere.yaml' cannot be read: No such file or directory."),
        (["data", "list", "--data-dir", "nope"], "`--data-dir` is 'nope', which is not a folder"),
        (["run", "."], "'.' cannot be read: Is a directory."),
    ],
)
def test_one_message(arguments, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.yaml").write_text("1")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"spectral {arguments[0]}: ")
    assert err.count("\n") == 1
    assert part in err
    assert [p.name for p in tmp_path.iterdir()] == ["there.yaml"]


def test_unknown_version_of_a_data_set(monkeypatch, capsys):
    def unknown(name, data_dir):
        raise AssertionError("Dataset mnist cannot be loaded at version 9.9.9")

    monkeypatch.setattr(_data, "prepare_images", unknown)
    assert main(["data", "prepare", "mnist:9.9.9"]) == 2
    assert capsys.readouterr().err.startswith("spectral data: Dataset mnist cannot be loaded")


def test_home_folder_is_expanded(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = parser().parse_args(["run", "~/x.yaml", "--out=~/runs", "--data-dir=~/data"])
    assert (given.file, given.out) == (tmp_path / "x.yaml", tmp_path / "runs")
    assert given.data_dir == str(tmp_path / "data")
    given = parser().parse_args(["plot", "~/runs", "--out=~/figures"])
    assert (given.folders, given.out) == ([tmp_path / "runs"], tmp_path / "figures")
    for option in ("--out", "--data-dir"):
        with pytest.raises(SystemExit):
            parser().parse_args(["run", "x.yaml", f"{option}=~nobody-of-this-name/x"])
        assert "the home folder of a user who does not exist" in capsys.readouterr().err


def test_reader_that_has_gone():
    """As in `spectral init | head -1`."""
    code = "import sys; from spectral.studies.command_line._main import main; sys.exit(main())"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code, "init"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("order", ["ours last", "theirs last"])
def test_the_other_spectral_is_named(order, tmp_path):
    """The distribution for hyperspectral imaging in the same environment, installed before or
    after, when importing its files fails because ours are among them."""
    about = tmp_path / "spectral-0.25.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: spectral\nVersion: 0.25\n")
    if order == "theirs last":
        (tmp_path / "spectral").mkdir()
        (tmp_path / "spectral" / "__init__.py").write_text("raise ImportError('replaced')")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    code = "import sys, spectral_plasticity; sys.exit(spectral_plasticity.main())"
    done = process("-c", code, "--help", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "also has the distribution 'spectral' 0.25, a library for hyperspectral" in done.stderr
    assert done.stderr.count("\n") == 1
    assert process("-c", code, "--help").returncode == 0


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("spectral pl", "plot "),
        ("spectral list est", "estimators "),
        ("spectral plot --sm", "--smo"),
    ],
)
def test_completion(line, completions, tmp_path):
    pytest.importorskip("argcomplete")
    done = process(
        "-m",
        "spectral",
        _ARGCOMPLETE="1",
        COMP_LINE=line,
        COMP_POINT=str(len(line)),
        COMP_TYPE="9",
        _ARGCOMPLETE_STDOUT_FILENAME=str(tmp_path / "found"),
    )
    assert done.returncode == 0
    assert (tmp_path / "found").read_text().startswith(completions)
