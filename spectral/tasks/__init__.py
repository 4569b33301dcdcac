"""Task streams: what data or environment comes next, and the loss that belongs to it."""

from ._advantages import generalised_advantages as generalised_advantages
from ._augmentation import (
    AbstractAugmentation as AbstractAugmentation,
    Compose as Compose,
    Crop as Crop,
    Flip as Flip,
    Rotate as Rotate,
    rotated as rotated,
)
from ._base import AbstractTaskStream as AbstractTaskStream, Metrics as Metrics, Split as Split
from ._brax import Brax as Brax
from ._changing_environment import ChangingEnvironment as ChangingEnvironment
from ._classification import cross_entropy as cross_entropy, LabelledBatch as LabelledBatch
from ._environment import AbstractEnvironment as AbstractEnvironment, Step as Step
from ._gymnax import Gymnax as Gymnax
from ._image_set import fewer_images as fewer_images, ImageSet as ImageSet
from ._image_source import ImageSource as ImageSource
from ._image_stream import (
    AbstractImageStream as AbstractImageStream,
    ImageBatch as ImageBatch,
)
from ._images import (
    load_images as load_images,
    prepare_images as prepare_images,
    prepared_images as prepared_images,
)
from ._incremental_classes import IncrementalClasses as IncrementalClasses
from ._loader import Loader as Loader, Shown as Shown
from ._noised_images import NoisedImages as NoisedImages
from ._permuted_images import PermutedImages as PermutedImages
from ._permuted_labels import PermutedLabels as PermutedLabels
from ._physics import (
    AbstractQuantity as AbstractQuantity,
    Friction as Friction,
    Gravity as Gravity,
    Mass as Mass,
    Strength as Strength,
)
from ._point_mass import PointMass as PointMass
from ._ppo import PPO as PPO
from ._random_labels import RandomLabels as RandomLabels
from ._render import render_episode as render_episode
from ._rotated_images import RotatedImages as RotatedImages
from ._schedules import (
    AbstractSchedule as AbstractSchedule,
    Cycle as Cycle,
    LogUniform as LogUniform,
    Revisit as Revisit,
)
from ._slowly_changing_regression import SlowlyChangingRegression as SlowlyChangingRegression
from ._split_classes import SplitClasses as SplitClasses
from ._surrogate import ClippedSurrogate as ClippedSurrogate, Experience as Experience
from ._time_limit import TimeLimit as TimeLimit
from ._toy_landscapes import (
    in_bowl as in_bowl,
    landscape as landscape,
    ToyLandscapes as ToyLandscapes,
)
from ._worlds import (
    changing_body as changing_body,
    ChangingGravity as ChangingGravity,
    ChangingMass as ChangingMass,
    SlipperyAnt as SlipperyAnt,
    SlipperyHumanoid as SlipperyHumanoid,
    WeakActuator as WeakActuator,
)
