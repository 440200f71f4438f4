"""Autoencoders that stand where PCA stands in scikit-learn."""

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.autoencoder_cv import AutoencoderTransformerCV
from sklearn_ae._estimators.vae import VAETransformer
from sklearn_ae._outlier.detector import AEOutlierDetector

__all__ = ["AEOutlierDetector", "AutoencoderTransformer", "AutoencoderTransformerCV", "VAETransformer"]
__version__ = "0.1.0"
