"""Checkpointers and meters to pass to `train_continual`."""

# The contents are listed in `__init__.pyi` and imported when first used, because each needs a
# package that the others do not need.
import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
