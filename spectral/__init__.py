"""Loss of plasticity in continual learning, seen through the spectrum of the Hessian."""

# The contents are listed in `__init__.pyi` and imported when first used: the command line can
# answer before JAX is loaded.
import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
