"""Reading and preparing sets of labelled images by name."""

import importlib.util
import os
import pathlib
import re

import jax.numpy as jnp
import numpy as np

from ...._arguments import check_count, unknown_name
from ...._base._paths import expanded
from ._image_cache import cache_path, cached, default_cache_dir
from ._image_set import ImageSet, with_validation
from .prepared._decode import decode, DECODED


_INSTALL = "pip install 'spectral-plasticity[data]'"


def load_images(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    num_validation: int = 0,
) -> ImageSet:
    """Load a set of labelled images by its name onto JAX's default device.

    ```python
    images = load_images("digits")
    images.train_images.shape  # (1500, 8, 8, 1)
    ```

    **Arguments:**

    - `name`: `"digits"` for the 1,797 images of 8 x 8 pixels that come with scikit-learn, always
      split into the same 1,500 training and 297 test images with equal fractions of the classes; or
      the TensorFlow Datasets name of a data set prepared in `data_dir`, such as `"mnist"`,
      `"imagenet_resized/32x32"` or `"mnist:3.0.1"`. The default version is the newest one.
    - `data_dir`: the folder of prepared data sets in array_record format. By default
      `$TFDS_DATA_DIR`, or `~/tensorflow_datasets` if that is not set. Ignored for `"digits"`.
    - `cache_dir`: the folder for decoded copies, one file for each version of a data set. It may
      be deleted at any time. By default `$XDG_CACHE_HOME/spectral`, or `~/.cache/spectral`.
    - `num_validation`: the number of training images that become validation images, always the same
      ones, with equal fractions of the classes.

    The held-out split is `"test"`, or `"validation"` if there is no `"test"`. Reading does not need
    TensorFlow. The first call decodes all images (about 0.1 milliseconds each).

    **Raises:**

    - `FileNotFoundError` if `data_dir` does not contain the data set or its version;
    - `ValueError` if the data set does not consist of 8-bit images of one size with a class label
      each, if a split is missing, if it was prepared in another format, if its features are classes
      of another package than TensorFlow Datasets, or for more validation images than can be held
      out; and, naming the split and the file or row, if its files are damaged or incomplete.

    **Warns:** `UserWarning` if `cache_dir` cannot be written to.
    """
    check_count("num_validation", num_validation, minimum=0)
    images = _digits() if name == "digits" else _prepared_set(name, data_dir, cache_dir)
    return with_validation(images, num_validation) if num_validation else images


def prepared_images(
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Returns the names of the data sets prepared in a folder, and their versions, newest last.

    **Arguments:**

    - `data_dir`: see `load_images`.

    Only the names are read. Loading a data set that is not labelled images raises an error.
    """
    found = _prepared(_data_dir(data_dir))
    return {n: tuple(sorted(versions, key=_version_key)) for n, versions in sorted(found.items())}


def prepare_images(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Download a data set of TensorFlow Datasets and prepare it for `load_images`.

    Progress is shown on standard error.

    **Arguments:**

    - `name`: its TensorFlow Datasets name, such as `"cifar100"` or `"imagenet_resized/32x32"`.
    - `data_dir`: the folder to write to; see `load_images`.

    **Returns:** the folder of the prepared data set.

    **Raises:** `ModuleNotFoundError` if TensorFlow is not installed (only this function needs it),
    `ValueError` if TensorFlow Datasets does not know the name, and `OSError` if the data set cannot
    be downloaded or written.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f"Preparing {name!r} needs TensorFlow, which is not installed (reading a prepared data "
            f"set does not): run `{_INSTALL}`, or copy a folder that was prepared elsewhere."
        )
    import tensorflow_datasets as tfds

    folder = _data_dir(data_dir)
    base = name.partition(":")[0].partition("/")[0]
    if base not in (known := tfds.list_builders(with_community_datasets=False)):
        raise ValueError(unknown_name("Data set", base, known))
    builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    try:
        builder.download_and_prepare(file_format="array_record")
    except (OSError, tfds.download.DownloadError) as error:
        raise OSError(f"{name!r} could not be prepared in {str(folder)!r}: {error}.") from error
    return pathlib.Path(builder.data_dir)


def _digits() -> ImageSet:
    # Imported here because scikit-learn takes a second to load.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = images.astype(np.uint8).reshape(-1, 8, 8, 1)
    split = train_test_split(
        pixels, labels.astype(np.int32), test_size=297, random_state=0, stratify=labels
    )
    train, test, train_labels, test_labels = map(jnp.asarray, split)
    return ImageSet("digits", train, train_labels, test, test_labels, num_classes=10, max_value=16)


def _prepared_set(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    cache_dir: str | os.PathLike[str] | None,
) -> ImageSet:
    source = _find(name, _data_dir(data_dir))
    folder = default_cache_dir() if cache_dir is None else expanded("cache_dir", cache_dir)
    path = cache_path(folder, name.partition(":")[0], source)
    arrays = cached(path, DECODED, lambda: decode(name, source))
    *parts, num_classes = (arrays[key] for key in DECODED)
    parts = map(jnp.asarray, parts)
    return ImageSet(name, *parts, num_classes=int(num_classes), max_value=255)


def _data_dir(data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return expanded("data_dir", default if data_dir is None else data_dir)


def _find(name: str, data_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a data set, in the version given in `name` or the newest one."""
    found = _prepared(data_dir)
    base, _, version = name.partition(":")
    if base not in found:
        state = "" if data_dir.is_dir() else ", which is not a folder"
        raise FileNotFoundError(
            f"{unknown_name('Data set', base, ['digits', *found])} 'digits' is always available; "
            f"the others are prepared in `data_dir` {str(data_dir)!r}{state}. Pass the `data_dir` "
            f"that contains {base!r}; or prepare it, which needs TensorFlow (`{_INSTALL}`), with "
            f"`spectral data prepare {base} --data-dir {data_dir}`."
        )
    if version and version not in found[base]:
        raise FileNotFoundError(
            f"{unknown_name(f'Version of {base!r}', version, found[base])} These are the versions "
            f"prepared in `data_dir` {str(data_dir)!r}: pass one of them, or no version."
        )
    newest = max(found[base], key=_version_key)
    return found[base][version or newest]


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _prepared(data_dir: pathlib.Path) -> dict[str, dict[str, pathlib.Path]]:
    """The folders of prepared data sets by name and version, with or without configurations."""
    found: dict[str, dict[str, pathlib.Path]] = {}
    for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
        for folder in (file.parent for file in data_dir.glob(pattern)):
            # The folder of a version has a longer name while TensorFlow Datasets prepares it.
            if re.fullmatch(r"\d+\.\d+\.\d+", folder.name):
                name = folder.parent.relative_to(data_dir).as_posix()
                found.setdefault(name, {})[folder.name] = folder
    return found
