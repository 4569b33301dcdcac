"""The files of the examples, which come with the package."""

import pathlib


def example_files() -> dict[str, pathlib.Path]:
    """The files of the examples by name. A wheel has them in this folder, and a checkout of the
    repository in `examples`."""
    places = (pathlib.Path(__file__).with_name("examples"), _REPOSITORY / "examples")
    folder = next(place for place in places if place.is_dir())
    files = [
        *folder.glob("*.yaml"),
        *(f for name in _FOLDERS for f in folder.glob(f"{name}/*.yaml")),
    ]
    names = {path: path.relative_to(folder).with_suffix("") for path in files}
    return {name.as_posix(): path for path, name in sorted(names.items())}


_REPOSITORY = pathlib.Path(__file__).parents[3]
# Examples in other folders need the files beside them.
_FOLDERS = ("dqn", "predictors", "results", "sweeps", "transformers")
