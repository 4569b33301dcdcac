"""The physical parameters of a brax system that can change."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractPhysicalParameter(eqx.Module):
    """A physical parameter of a brax system."""

    @abstractmethod
    def put(self, system: Any, value: Float[Array, ""]) -> Any:
        """Returns the brax system with this value of the parameter."""


class Friction(AbstractPhysicalParameter):
    """The sliding friction of *all* geometries.

    A contact has the larger friction of its two geometries. The feet have a friction of 1, so that
    changing the floor alone has no effect below 1.
    """

    def put(self, system: Any, value: Float[Array, ""]) -> Any:
        friction = jnp.asarray(system.geom_friction)
        return system.replace(geom_friction=friction.at[:, 0].set(value.astype(friction.dtype)))


class Gravity(AbstractPhysicalParameter):
    """A factor on the gravity of the model."""

    def put(self, system: Any, value: Float[Array, ""]) -> Any:
        return system.replace(
            gravity=value * system.gravity,
            opt=system.opt.replace(gravity=value * system.opt.gravity),
        )


class BodyMass(AbstractPhysicalParameter):
    """A factor on all masses and moments of inertia that take effect (see docs/reinforcement.md).

    The mjx backend derives the softness of contacts and limits from the masses of the model. This
    softness does not change with the factor.
    """

    def put(self, system: Any, value: Float[Array, ""]) -> Any:
        inertia = system.link.inertia
        inertia = inertia.replace(mass=value * inertia.mass, i=value * inertia.i)
        return system.replace(
            link=system.link.replace(inertia=inertia),
            body_mass=value * system.body_mass,
            body_inertia=value * system.body_inertia,
        )


class ActuatorStrength(AbstractPhysicalParameter):
    """A factor on the gear of all actuators, which scales their forces."""

    def put(self, system: Any, value: Float[Array, ""]) -> Any:
        return system.replace(
            actuator=system.actuator.replace(gear=value * system.actuator.gear),
            actuator_gear=value * system.actuator_gear,
        )
