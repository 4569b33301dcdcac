"""The run-time type checker of the tests: every item of a container, integers as floats."""

import beartype


check = beartype.beartype(
    conf=beartype.BeartypeConf(strategy=beartype.BeartypeStrategy.On, is_pep484_tower=True)
)
