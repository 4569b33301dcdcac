"""Equinox networks that return their activations and describe their units."""

from ._apply import apply_network as apply_network
from ._network import AbstractNetwork as AbstractNetwork
from .layers._batch_norm import BatchNorm as BatchNorm
from .layers._convolution import Convolution as Convolution
from .layers._initialisers import (
    AbstractInitialiser as AbstractInitialiser,
    AbstractRowInitialiser as AbstractRowInitialiser,
    FanOutNormal as FanOutNormal,
    KaimingNormal as KaimingNormal,
    KaimingUniform as KaimingUniform,
    LecunNormal as LecunNormal,
    TorchDefault as TorchDefault,
)
from .layers._lecun_uniform import LecunUniform as LecunUniform
from .layers._orthogonal import Orthogonal as Orthogonal
from .layers._sparse import connected as connected, Sparse as Sparse
from .layers.activations._activation import (
    AbstractActivation as AbstractActivation,
    Elementwise as Elementwise,
    UnitParameter as UnitParameter,
)
from .layers.activations._adalin import AdaLin as AdaLin
from .layers.activations._aid import AID as AID
from .layers.activations._learnt import PELU as PELU, Rational as Rational
from .layers.activations._smooth_leaky import smooth_leaky as smooth_leaky
from .layers.activations._two_sided import CReLU as CReLU, DeepFourier as DeepFourier
from .networks._actor_critic import ActorCritic as ActorCritic
from .networks._convnet import ConvNet as ConvNet
from .networks._dueling import Dueling as Dueling
from .networks._from_flax import from_flax as from_flax
from .networks._minatar_network import minatar_network as minatar_network
from .networks._mlp import MLP as MLP
from .networks._plasticity_injection import PlasticityInjection as PlasticityInjection
from .networks._point import Point as Point
from .networks._policy import (
    AbstractPolicy as AbstractPolicy,
    CategoricalPolicy as CategoricalPolicy,
    GaussianPolicy as GaussianPolicy,
    PolicyAndValue as PolicyAndValue,
)
from .networks._resnet import ResNet18 as ResNet18
from .networks._state_dict import (
    from_state_dict as from_state_dict,
    to_state_dict as to_state_dict,
)
from .units._activity import dead as dead, dormant as dormant, mean_activity as mean_activity
from .units._described import (
    activations_by_unit as activations_by_unit,
    DescribesUnits as DescribesUnits,
    DrawsFresh as DrawsFresh,
    has_units as has_units,
    unit_groups as unit_groups,
)
from .units._entries import Entries as Entries
from .units._feature_rank import (
    feature_effective_rank as feature_effective_rank,
    feature_stable_rank as feature_stable_rank,
    singular_values as singular_values,
    srank99 as srank99,
)
from .units._margins import (
    activations_of as activations_of,
    margin_dead as margin_dead,
    margins as margins,
    pre_activations as pre_activations,
)
from .units._renewal import (
    absorb_mean as absorb_mean,
    forget_units as forget_units,
    renew_statistics as renew_statistics,
    renew_units as renew_units,
)
from .units._unit_group import entries_of as entries_of, UnitGroup as UnitGroup
