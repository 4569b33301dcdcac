"""Task streams: what data or environment comes next, and the loss that belongs to it."""

from ._augmentation import (
    AbstractAugmentation as AbstractAugmentation,
    Compose as Compose,
    Crop as Crop,
    Flip as Flip,
    Rotate as Rotate,
    rotated as rotated,
)
from ._base import AbstractTaskStream as AbstractTaskStream, Metrics as Metrics, Split as Split
from ._classification import cross_entropy as cross_entropy, LabelledBatch as LabelledBatch
from ._image_source import ImageSource as ImageSource
from ._image_stream import (
    AbstractImageStream as AbstractImageStream,
    ImageBatch as ImageBatch,
)
from ._images import ImageSet as ImageSet, load_images as load_images
from ._incremental_classes import IncrementalClasses as IncrementalClasses
from ._loader import Loader as Loader, Shown as Shown
from ._noised_images import NoisedImages as NoisedImages
from ._permuted_images import PermutedImages as PermutedImages
from ._permuted_labels import PermutedLabels as PermutedLabels
from ._random_labels import RandomLabels as RandomLabels
from ._rotated_images import RotatedImages as RotatedImages
from ._slowly_changing_regression import SlowlyChangingRegression as SlowlyChangingRegression
from ._split_classes import SplitClasses as SplitClasses
from ._toy_landscapes import (
    in_bowl as in_bowl,
    landscape as landscape,
    ToyLandscapes as ToyLandscapes,
)
