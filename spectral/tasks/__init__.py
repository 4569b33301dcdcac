"""Task streams: what data or environment comes next, and the loss that belongs to it."""

from ._base import AbstractTaskStream as AbstractTaskStream, Metrics as Metrics, Split as Split
from ._classification import cross_entropy as cross_entropy, LabelledBatch as LabelledBatch
from ._images import ImageSet as ImageSet, load_images as load_images
from ._permuted_images import PermutedImages as PermutedImages
