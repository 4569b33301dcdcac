"""Labelled images by their names: the one place where they are read and prepared."""

import importlib.util
import io
import os
import pathlib
import re
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import PIL.Image

from ...._arguments import unknown_name
from ._image_cache import cache_path, default_cache_dir, kept
from ._image_set import ImageSet


_INSTALL = "pip install 'spectral-plasticity[data]'"
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names, by the number of channels
_KEPT = ("train_images", "train_labels", "test_images", "test_labels", "num_classes")


def load_images(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> ImageSet:
    """A data set of labelled images by its name, on JAX's default device.

    ```python
    images = load_images("digits")
    images.train_images.shape  # (1500, 8, 8, 1)
    ```

    **Arguments:**

    - `name`: `"digits"`, the 1,797 images of 8 x 8 pixels that come with scikit-learn, always
      split into the same 1,500 to train on and 297 held out, with equal parts of the classes; or
      a data set that TensorFlow Datasets has prepared in `data_dir`, named as it names them:
      `"mnist"`, `"imagenet_resized/32x32"`, `"mnist:3.0.1"`. Without a version, the newest.
    - `data_dir`: the folder that holds prepared data sets, in the array_record format. By default
      `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`. Not used for `"digits"`.
    - `cache_dir`: where decoded copies are kept, one file for each version of a data set; it may
      be deleted at any time. By default `$XDG_CACHE_HOME/spectral`, or else `~/.cache/spectral`.

    The split `"test"` is held out, or `"validation"` where there is no such split. Reading needs
    no TensorFlow. The first reading decodes all images (about 0.1 milliseconds each).

    **Raises:**

    - `FileNotFoundError` if `data_dir` does not hold the data set or the version asked for;
    - `ValueError` if the data set does not consist of 8-bit images of one size with a class label
      each, if a split is missing, or if it was prepared in another format.

    **Warns:** `UserWarning` if `cache_dir` cannot be written to.
    """
    if name == "digits":
        return _digits()
    source = _find(name, _data_dir(data_dir))
    folder = default_cache_dir() if cache_dir is None else pathlib.Path(cache_dir).expanduser()
    path = cache_path(folder, name.partition(":")[0], source)
    arrays = kept(path, _KEPT, lambda: _decode(name, source))
    *parts, num_classes = (arrays[key] for key in _KEPT)
    parts = map(jnp.asarray, parts)
    return ImageSet(name, *parts, num_classes=int(num_classes), max_value=255)


def prepared_images(
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """The data sets that are prepared in a folder, with their versions, the newest last.

    **Arguments:**

    - `data_dir`: as `load_images` takes it.

    Not all of them need consist of labelled images: that shows when one is loaded.
    """
    found = _prepared(_data_dir(data_dir))
    return {name: tuple(sorted(versions, key=_number)) for name, versions in sorted(found.items())}


def prepare_images(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Download a data set of TensorFlow Datasets and prepare it for `load_images`.

    Progress is shown on standard error.

    **Arguments:**

    - `name`: as TensorFlow Datasets names it, such as `"cifar100"` or `"imagenet_resized/32x32"`.
    - `data_dir`: where to, as `load_images` takes it.

    **Returns:** the folder that holds it.

    **Raises:** `ModuleNotFoundError` without TensorFlow, which is needed for this alone;
    `ValueError` for a name that TensorFlow Datasets does not know; `OSError` if the data set cannot
    be downloaded or written.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f"Preparing {name!r} needs TensorFlow, which is not installed (reading what is "
            f"prepared does not): `{_INSTALL}`, or copy the folder from where it is prepared."
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
    # Imported when used, for they take a second to load.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = images.astype(np.uint8).reshape(-1, 8, 8, 1)
    split = train_test_split(
        pixels, labels.astype(np.int32), test_size=297, random_state=0, stratify=labels
    )
    train, test, train_labels, test_labels = map(jnp.asarray, split)
    return ImageSet("digits", train, train_labels, test, test_labels, num_classes=10, max_value=16)


def _data_dir(data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(default if data_dir is None else data_dir).expanduser()


def _find(name: str, data_dir: pathlib.Path) -> pathlib.Path:
    """The folder of the version of a data set that `name` asks for."""
    found = _prepared(data_dir)
    base, _, version = name.partition(":")
    if base not in found:
        state = "" if data_dir.is_dir() else ", which is not a folder"
        raise FileNotFoundError(
            f"{unknown_name('Data set', base, ['digits', *found])} Besides 'digits', which is "
            f"always there, these are the data sets prepared in `data_dir` {str(data_dir)!r}"
            f"{state}. Pass the `data_dir` that holds {base!r}; or prepare it there, which needs "
            f"TensorFlow (`{_INSTALL}`), with `spectral data prepare {base} --data-dir {data_dir}`."
        )
    if version and version not in found[base]:
        raise FileNotFoundError(
            f"{unknown_name(f'Version of {base!r}', version, found[base])} These are the versions "
            f"prepared in `data_dir` {str(data_dir)!r}: ask for one of them, or for none."
        )
    newest = max(found[base], key=_number)
    return found[base][version or newest]


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _prepared(data_dir: pathlib.Path) -> dict[str, dict[str, pathlib.Path]]:
    """By name and version, the folders of prepared data sets, with or without configurations."""
    found: dict[str, dict[str, pathlib.Path]] = {}
    for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
        for folder in (file.parent for file in data_dir.glob(pattern)):
            # While TensorFlow Datasets prepares a version, its folder has a longer name.
            if re.fullmatch(r"\d+\.\d+\.\d+", folder.name):
                name = folder.parent.relative_to(data_dir).as_posix()
                found.setdefault(name, {})[folder.name] = folder
    return found


def _decode(name: str, source: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays named in `_KEPT`, from the files in the folder `source`."""
    # The warnings of TensorFlow Datasets' own code are nothing that the caller could act on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(source)
        features = _features(name, builder.info, tfds)
        held_out = _held_out(name, builder.info)
        train = _rows(name, builder, features, "train", tfds)
        test = _rows(name, builder, features, held_out, tfds)
    _, label = features.values()
    return dict(zip(_KEPT, (*train, *test, np.asarray(label.num_classes)), strict=True))


def _features(name: str, info: Any, tfds: Any) -> dict[str, Any]:
    """The image and the label, in this order, under the names they have in the data set."""
    keys = [str(key) for key in info.supervised_keys or ("image", "label")]
    chosen = {key: info.features[key] for key in keys if key in info.features}
    match list(chosen.values()):
        case [tfds.features.Image() as image, tfds.features.ClassLabel() as label]:
            fixed = None not in image.shape and image.shape[-1] in _MODES
            if fixed and image.np_dtype == np.uint8 and label.num_classes:
                return chosen
    raise ValueError(
        f"Data set {name!r} has the features {info.features}, but must have an 8-bit image of a "
        "fixed size, with 1, 3 or 4 channels, and one class label for it: choose another data set."
    )


def _held_out(name: str, info: Any) -> str:
    """The split that is held out, once it is known that there is all that will be read."""
    formats = sorted(f.value for f in info.available_file_formats())
    if "array_record" not in formats:
        raise ValueError(
            f"Data set {name!r} was prepared in the format {', '.join(formats)}, but must be in "
            f"array_record: prepare it anew, with `spectral data prepare {name}`."
        )
    held_out = "test" if "test" in info.splits else "validation"
    if not {"train", held_out} <= set(info.splits):
        raise ValueError(
            f"Data set {name!r} has the splits {sorted(info.splits)}, but must have 'train', and "
            "'test' or 'validation': choose another data set."
        )
    return held_out


def _rows(
    name: str, builder: Any, features: dict[str, Any], split: str, tfds: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split."""
    records = builder.as_data_source(
        split,
        deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        file_format="array_record",
    )
    image, label = features
    shape = features[image].shape
    parse = tfds.features.FeaturesDict(features).deserialize_example_np
    skip = {image: tfds.decode.SkipDecoding()}
    images = np.empty((len(records), *shape), np.uint8)
    labels = np.empty(len(records), np.int32)
    for start in range(0, len(records), 1000):
        batch = range(start, min(start + 1000, len(records)))
        for row, record in zip(batch, records.__getitems__(list(batch)), strict=True):
            example = parse(record, decoders=skip)
            pixels = _pixels(example[image], shape[-1])
            if pixels.shape != shape:
                raise ValueError(
                    f"Data set {name!r} promises images of shape {shape}, but row {row} of "
                    f"{split!r} is of shape {pixels.shape}: choose another data set."
                )
            images[row], labels[row] = pixels, example[label]
    return images, labels


def _pixels(encoded: bytes, channels: int) -> np.ndarray:
    # With Pillow alone, reading takes a quarter of the time of TensorFlow Datasets' own decoding.
    with PIL.Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image.convert(_MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)
