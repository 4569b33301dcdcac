"""An environment around another one."""

import equinox as eqx

from ._environment import AbstractEnvironment, State


class AbstractWrapper(AbstractEnvironment[State]):
    """An environment that changes what goes into another one, or what comes out of it. It has the
    sizes of the inner environment, to which it hands its parameter on."""

    environment: eqx.AbstractVar[AbstractEnvironment]

    @property
    def observation_size(self) -> int:
        return self.environment.observation_size

    @property
    def action_size(self) -> int:
        return self.environment.action_size

    @property
    def discrete(self) -> bool:
        return self.environment.discrete
