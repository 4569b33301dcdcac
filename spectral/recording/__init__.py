"""What is handed to `train_continual` to watch or keep a run."""

# The contents are listed in `__init__.pyi` and imported when first used: each needs a package that
# the others do not.
import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
