"""Task streams: the data or environment of each task, and its loss."""

from ._base._classification import cross_entropy as cross_entropy, LabelledBatch as LabelledBatch
from ._base._label_loss import label_loss as label_loss, Labels as Labels
from ._base._no_fresh_task import NoFreshTaskError as NoFreshTaskError
from ._base._splits import Split as Split
from ._base._stream import AbstractTaskStream as AbstractTaskStream, Metrics as Metrics
from .labelled.gradual._drifting_mixture import DriftingMixture as DriftingMixture
from .labelled.gradual._interpolated_inputs import InterpolatedInputs as InterpolatedInputs
from .labelled.gradual._interpolated_labels import InterpolatedLabels as InterpolatedLabels
from .labelled.rows._augmentation import (
    AbstractAugmentation as AbstractAugmentation,
    Compose as Compose,
    Crop as Crop,
    Flip as Flip,
    Rotate as Rotate,
    rotated as rotated,
)
from .labelled.rows._labelled_rows import LabelledRows as LabelledRows
from .labelled.rows._labelled_source import LabelledSource as LabelledSource
from .labelled.rows._loader import InputTransform as InputTransform, Loader as Loader
from .labelled.sets._array_files import load_arrays as load_arrays, load_table as load_table
from .labelled.sets._dataset_arrays import dataset_arrays as dataset_arrays
from .labelled.sets._image_set import fewer_images as fewer_images, ImageSet as ImageSet
from .labelled.sets._images import (
    load_images as load_images,
    prepare_images as prepare_images,
    prepared_images as prepared_images,
)
from .labelled.sets._labelled_data import AbstractLabelledData as AbstractLabelledData
from .labelled.sets._labelled_set import LabelledSet as LabelledSet
from .labelled.sets._own_data import labelled_set as labelled_set
from .labelled.streams._drifting_inputs import DriftingInputs as DriftingInputs
from .labelled.streams._flipped_labels import FlippedLabels as FlippedLabels
from .labelled.streams._growing_data import GrowingData as GrowingData
from .labelled.streams._incremental_classes import IncrementalClasses as IncrementalClasses
from .labelled.streams._labelled_stream import AbstractLabelledStream as AbstractLabelledStream
from .labelled.streams._noised_images import NoisedImages as NoisedImages
from .labelled.streams._noised_inputs import NoisedInputs as NoisedInputs
from .labelled.streams._permuted_images import PermutedImages as PermutedImages
from .labelled.streams._permuted_inputs import PermutedInputs as PermutedInputs
from .labelled.streams._permuted_labels import PermutedLabels as PermutedLabels
from .labelled.streams._permuted_patches import PermutedPatches as PermutedPatches
from .labelled.streams._random_labels import RandomLabels as RandomLabels
from .labelled.streams._rotated_images import RotatedImages as RotatedImages
from .labelled.streams._rotated_inputs import RotatedInputs as RotatedInputs
from .labelled.streams._slowly_changing_regression import (
    SlowlyChangingRegression as SlowlyChangingRegression,
)
from .labelled.streams._split_classes import SplitClasses as SplitClasses
from .landscapes._toy_landscapes import (
    in_bowl as in_bowl,
    landscape as landscape,
    ToyLandscapes as ToyLandscapes,
)
from .rl.dqn._dqn import DQN as DQN
from .rl.dqn._dqn_batch import DQNBatch as DQNBatch
from .rl.dqn._exploration import LinearEpsilon as LinearEpsilon
from .rl.dqn._greedy_values import greedy_values as greedy_values, GreedyValues as GreedyValues
from .rl.dqn._target_update import (
    AbstractTargetUpdate as AbstractTargetUpdate,
    PeriodicTarget as PeriodicTarget,
    PolyakTarget as PolyakTarget,
)
from .rl.dqn._value_error import (
    AbstractValueError as AbstractValueError,
    HuberValueError as HuberValueError,
    SquaredValueError as SquaredValueError,
)
from .rl.environments._brax import Brax as Brax
from .rl.environments._changed_actions import (
    ReversedActions as ReversedActions,
    StickyActions as StickyActions,
)
from .rl.environments._changing_environment import ChangingEnvironment as ChangingEnvironment
from .rl.environments._environment import AbstractEnvironment as AbstractEnvironment, Step as Step
from .rl.environments._games import Games as Games
from .rl.environments._gymnax import Gymnax as Gymnax
from .rl.environments._minatar import MinAtar as MinAtar
from .rl.environments._permuted_observations import PermutedObservations as PermutedObservations
from .rl.environments._physical_parameters import (
    AbstractPhysicalParameter as AbstractPhysicalParameter,
    ActuatorStrength as ActuatorStrength,
    BodyMass as BodyMass,
    Friction as Friction,
    Gravity as Gravity,
)
from .rl.environments._point_mass import PointMass as PointMass
from .rl.environments._schedules import (
    AbstractSchedule as AbstractSchedule,
    Cycle as Cycle,
    LogUniform as LogUniform,
    Revisit as Revisit,
    TaskIndex as TaskIndex,
)
from .rl.environments._time_limit import TimeLimit as TimeLimit
from .rl.environments._worlds import (
    changing_body as changing_body,
    ChangingGravity as ChangingGravity,
    ChangingMass as ChangingMass,
    SlipperyAnt as SlipperyAnt,
    SlipperyHumanoid as SlipperyHumanoid,
    WeakActuator as WeakActuator,
)
from .rl.ppo._advantages import generalised_advantages as generalised_advantages
from .rl.ppo._ppo import PPO as PPO
from .rl.ppo._ppo_batch import PPOBatch as PPOBatch
from .rl.ppo._render import render_episode as render_episode
from .rl.ppo._surrogate import ClippedSurrogate as ClippedSurrogate
from .sequences._formal_tasks import FormalTasks as FormalTasks
from .sequences._load_text import load_text as load_text
from .sequences._markov_sources import MarkovSources as MarkovSources
from .sequences._permuted_vocabulary import PermutedVocabulary as PermutedVocabulary
from .sequences._rules import (
    AbstractRule as AbstractRule,
    CopySymbols as CopySymbols,
    ModularAddition as ModularAddition,
    ReverseSymbols as ReverseSymbols,
    SortSymbols as SortSymbols,
)
from .sequences._sequence_batch import next_tokens as next_tokens, SequenceBatch as SequenceBatch
from .sequences._sequence_loader import SequenceLoader as SequenceLoader
from .sequences._sequence_loss import SequenceLoss as SequenceLoss
from .sequences._sequence_stream import AbstractSequenceStream as AbstractSequenceStream
from .sequences._text import Text as Text
from .sequences._text_sequence import TextSequence as TextSequence
