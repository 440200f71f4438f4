"""Autoencoders as drop-in replacements for PCA in scikit-learn."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.autoencoder_cv import AutoencoderTransformerCV
from sklearn_ae._estimators.imputer import AEImputer
from sklearn_ae._estimators.vae import VAETransformer
from sklearn_ae._outlier.detector import AEOutlierDetector

if TYPE_CHECKING:
    from sklearn_ae import inspection as inspection
    from sklearn_ae import latent as latent
    from sklearn_ae import metrics as metrics

__all__ = [
    "AEImputer",
    "AEOutlierDetector",
    "AutoencoderTransformer",
    "AutoencoderTransformerCV",
    "VAETransformer",
]
__version__ = "0.1.0"

_SLOTS = (
    "bottlenecks",
    "corruptions",
    "divergences",
    "likelihoods",
    "losses",
    "networks",
    "outlier_scores",
    "penalties",
    "priors",
)
_SUBMODULES = (*_SLOTS, "inspection", "latent", "metrics")


def __getattr__(name: str) -> ModuleType:
    """Import a public submodule at its first use (PEP 562)."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names only."""
    return sorted([*__all__, *_SUBMODULES, "__version__"])
