"""Autoencoders that stand where PCA stands in scikit-learn."""

from sklearn_ae._autoencoder import AutoencoderTransformer

__all__ = ["AutoencoderTransformer"]
__version__ = "0.1.0"
