"""Equinox networks that return their activations and describe their units."""

from ._activations import (
    AbstractActivation as AbstractActivation,
    CReLU as CReLU,
    DeepFourier as DeepFourier,
    Elementwise as Elementwise,
    PELU as PELU,
    Rational as Rational,
)
from ._activity import dead as dead, dormant as dormant, mean_activity as mean_activity
from ._actor_critic import ActorCritic as ActorCritic
from ._batch_norm import BatchNorm as BatchNorm
from ._batched import apply_network as apply_network
from ._convnet import ConvNet as ConvNet
from ._convolution import Convolution as Convolution
from ._entries import Entries as Entries
from ._feature_rank import (
    effective_rank as effective_rank,
    singular_values as singular_values,
    srank99 as srank99,
    stable_rank as stable_rank,
)
from ._initialisers import (
    AbstractInitialiser as AbstractInitialiser,
    AbstractRowInitialiser as AbstractRowInitialiser,
    FanOutNormal as FanOutNormal,
    KaimingNormal as KaimingNormal,
    KaimingUniform as KaimingUniform,
    LecunNormal as LecunNormal,
    TorchDefault as TorchDefault,
)
from ._lecun_uniform import LecunUniform as LecunUniform
from ._margins import (
    activations_of as activations_of,
    margin_dead as margin_dead,
    margins as margins,
    pre_activations as pre_activations,
)
from ._mlp import MLP as MLP
from ._network import AbstractNetwork as AbstractNetwork
from ._orthogonal import Orthogonal as Orthogonal
from ._plasticity_injection import PlasticityInjection as PlasticityInjection
from ._point import Point as Point
from ._policy import (
    AbstractPolicy as AbstractPolicy,
    CategoricalPolicy as CategoricalPolicy,
    GaussianPolicy as GaussianPolicy,
    PolicyAndValue as PolicyAndValue,
)
from ._renewal import (
    absorb_mean as absorb_mean,
    forget_units as forget_units,
    renew_statistics as renew_statistics,
    renew_units as renew_units,
)
from ._resnet import ResNet18 as ResNet18
from ._sparse import connected as connected, Sparse as Sparse
from ._units import entries_of as entries_of, UnitGroup as UnitGroup
