"""Equinox networks that return their activations and describe their units."""

from ._apply import apply_network as apply_network
from ._network import AbstractNetwork as AbstractNetwork
from .layers._batch_norm import BatchNorm as BatchNorm
from .layers._convolution import Convolution as Convolution
from .layers._fixed_scale import (
    FixedNormal as FixedNormal,
    GPT2Normal as GPT2Normal,
    TruncatedNormal as TruncatedNormal,
)
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
from .layers._low_rank import LowRank as LowRank, RankOneMixture as RankOneMixture
from .layers._orthogonal import Orthogonal as Orthogonal
from .layers._sparse import connected as connected, Sparse as Sparse
from .layers.activations._activation import (
    AbstractActivation as AbstractActivation,
    Elementwise as Elementwise,
    UnitParameter as UnitParameter,
)
from .layers.activations._adalin import AdaLin as AdaLin
from .layers.activations._aid import AID as AID
from .layers.activations._gated import Gated as Gated, swiglu as swiglu
from .layers.activations._gelu import gelu as gelu
from .layers.activations._homogeneous import positively_homogeneous as positively_homogeneous
from .layers.activations._learnt import PELU as PELU, Rational as Rational
from .layers.activations._silent import silent_below_zero as silent_below_zero
from .layers.activations._smooth_leaky import smooth_leaky as smooth_leaky
from .layers.activations._two_sided import CReLU as CReLU, DeepFourier as DeepFourier
from .layers.attention._norms import layer_norm as layer_norm, rms_norm as rms_norm
from .layers.attention._positions import (
    AbstractPositions as AbstractPositions,
    LearnedPositions as LearnedPositions,
    RotaryPositions as RotaryPositions,
)
from .networks._actor_critic import ActorCritic as ActorCritic
from .networks._convnet import ConvNet as ConvNet
from .networks._dueling import Dueling as Dueling
from .networks._from_flax import from_flax as from_flax
from .networks._frozen_gates import FrozenGates as FrozenGates
from .networks._linearised import Linearised as Linearised
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
from .networks.transformers._attention_weights import (
    attention_logits as attention_logits,
    attention_weights as attention_weights,
)
from .networks.transformers._gpt import GPT as GPT
from .networks.transformers._head_outputs import head_outputs as head_outputs
from .networks.transformers._transformer import AbstractTransformer as AbstractTransformer
from .networks.transformers._transformer_parts import TransformerParts as TransformerParts
from .networks.transformers._vit import ViT as ViT
from .signs._attention import (
    attention_entropy as attention_entropy,
    collapsed_heads as collapsed_heads,
    head_redundancy as head_redundancy,
    largest_logit as largest_logit,
    lazy_heads as lazy_heads,
)
from .signs._feature_ranks import feature_ranks as feature_ranks
from .signs._frozen import (
    activation_derivatives as activation_derivatives,
    frozen as frozen,
    saturated as saturated,
)
from .signs._gates import (
    active_fraction as active_fraction,
    linearised as linearised,
    sign_entropy as sign_entropy,
)
from .signs._offsets import (
    check_one_activation_each as check_one_activation_each,
    with_offsets as with_offsets,
)
from .signs._representation_change import representation_change as representation_change
from .signs._twins import (
    check_weights_make_units as check_weights_make_units,
    twins as twins,
    twins_by_weights as twins_by_weights,
    twins_on_data as twins_on_data,
)
from .signs._weights import (
    largest_singular_values as largest_singular_values,
    mean_weight_magnitude as mean_weight_magnitude,
    weight_distance as weight_distance,
    weight_norm as weight_norm,
)
from .units._activity import dead as dead, dormant as dormant, mean_activity as mean_activity
from .units._balanced import balanced as balanced
from .units._described import (
    activations_by_unit as activations_by_unit,
    DescribesUnits as DescribesUnits,
    DrawsFresh as DrawsFresh,
    has_units as has_units,
    unit_groups as unit_groups,
    vectors_of_features as vectors_of_features,
)
from .units._entries import Entries as Entries
from .units._feature_rank import (
    feature_effective_rank as feature_effective_rank,
    feature_stable_rank as feature_stable_rank,
    singular_values as singular_values,
    srank99 as srank99,
)
from .units._head import head_parameters as head_parameters
from .units._margins import (
    activations_of as activations_of,
    check_elementwise as check_elementwise,
    margin_dead as margin_dead,
    margins as margins,
    pre_activations as pre_activations,
    pre_activations_from as pre_activations_from,
)
from .units._renewal import (
    absorb_mean as absorb_mean,
    forget_units as forget_units,
    renew_statistics as renew_statistics,
    renew_units as renew_units,
)
from .units._rescaled import check_scalable as check_scalable, rescaled as rescaled
from .units._unit_group import entries_of as entries_of, UnitGroup as UnitGroup
