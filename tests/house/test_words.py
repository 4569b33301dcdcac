"""One word for each thing: identifiers, columns and keys of YAML by the table of CONTRIBUTING."""

import ast
import importlib
import inspect
import pathlib

import pytest
import yaml

import spectral


ROOT = pathlib.Path(__file__).parents[2]
ROOMS = ("models", "curvature", "tasks", "algorithms", "probes", "theory", "recording", "studies")

# Names that stand for another word of the table, wherever they are an identifier.
NEVER = {
    "Every": "Periodic",
    "GramSpectrum": "GramEigh",
    "KFACSpectrum": "KroneckerEigh",
    "Signs": "Rademacher",
    "ProbeVector": "a distribution of vectors",
    "AbstractQuantity": "AbstractPhysicalParameter",
    "Practice": "RolloutState",
    "Player": "EnvironmentState",
    "Rollout": "Trajectory",
    "Experience": "PPOBatch",
    "one_sided": "directed",
    "er_every": "er_period",
    "least": "smallest",
    "share": "fraction",
    "shares": "fractions",
    "refuse": "reject",
}
# Arguments of these names are counts or rates with a word of their own.
ARGUMENTS = {
    "n": "num_examples",
    "chunk": "batch_size",
    "chunk_size": "batch_size",
    "rate": "lr or replacement_rate",
    "number": "index or num_...",
    "quantity": "physical_parameter",
    "rejection": "rejection_level",
    "one_sided": "directed",
}
COUNTS = {"examples", "samples", "vectors", "probes", "tasks", "pairs", "units", "environments"}
COLUMNS = {"effective_rank", "stable_rank", "epsilon_rank", "episodes"}


def identifiers(source: str) -> list[tuple[int, str]]:
    """Every name that a file gives: classes, functions, arguments, variables, fields."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.append((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            found.append((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((node.lineno, node.id))
    return found


def wrong_words(source: str) -> list[str]:
    """Identifiers that are, or have as a part between underscores, a word for something else."""
    names = identifiers(source)
    parts = [(line, name, f"_{name.strip('_')}_") for line, name in names]
    return [f"{n}: {name}: {NEVER[w]}" for n, name, p in parts for w in NEVER if f"_{w}_" in p]


def wrong_arguments(function: ast.FunctionDef) -> list[str]:
    """Arguments that count something under a plain plural, or go by another word."""
    found = []
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    for argument in arguments:
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        counts = annotation.split(" | ")[0] == "int" and argument.arg in COUNTS
        if argument.arg in ARGUMENTS and "Callable" not in annotation:
            if annotation.split(" | ")[0] in ("int", "float"):
                found.append(f"{function.name}({argument.arg}): {ARGUMENTS[argument.arg]}")
        elif counts:
            found.append(f"{function.name}({argument.arg}): num_{argument.arg}")
    return found


def _functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


def test_identifiers():
    found = {}
    for path in sorted((ROOT / "spectral").rglob("*.py")):
        source = path.read_text()
        wrong = wrong_words(source)
        wrong += [w for function in _functions(source) for w in wrong_arguments(function)]
        if wrong:
            found[path.relative_to(ROOT).as_posix()] = wrong
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "class Every: pass",
        "share = 1",
        "def directed_one_sided(): pass",
        "def f(n: int): pass",
        "def f(*, samples: int = 3): pass",
        "def f(chunk: int | None = None): pass",
        "def f(rate: float): pass",
    ],
)
def test_a_planted_word_is_found(source):
    assert wrong_words(source) or [w for f in _functions(source) for w in wrong_arguments(f)]


def public() -> dict[str, object]:
    """By name, what the rooms export."""
    names = {f"spectral.{name}": getattr(spectral, name) for name in dir(spectral)}
    for room in ROOMS:
        module = importlib.import_module(f"spectral.{room}")
        names |= {f"{room}.{name}": getattr(module, name) for name in dir(module)}
    ours = lambda value: (getattr(value, "__module__", None) or "").startswith("spectral")
    return {n: v for n, v in names.items() if callable(v) and ours(v)}


def positional_defaults(function: object) -> list[str]:
    """Arguments with a default that can be given by position."""
    try:
        parameters = inspect.signature(function).parameters.values()  # pyright: ignore
    except ValueError:
        return []
    both = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p.name for p in parameters if p.kind is both and p.default is not p.empty]


def test_arguments_with_a_default_are_keyword_only():
    """Except the `lr` of a recipe or an optimiser."""
    wrong = {}
    for name, function in public().items():
        given = positional_defaults(function)
        if given and not (given == ["lr"] and name.startswith("algorithms.")):
            wrong[name] = given
    assert wrong == {}
    assert positional_defaults(lambda x, y=1, *, z=2: x) == ["y"]


def _keys(settings: object) -> set[str]:
    if isinstance(settings, dict):
        return set(settings).union(*map(_keys, settings.values()))
    return set().union(*map(_keys, settings)) if isinstance(settings, list) else set()


def test_keys_of_yaml():
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        keys = _keys(yaml.safe_load(path.read_text()))
        plural = {"probes", "algorithms", "seeds"}  # these hold the things themselves
        wrong = keys & (set(NEVER) | set(ARGUMENTS) | COUNTS | {"batch_size"} - plural)
        assert wrong - plural == set(), path.name
