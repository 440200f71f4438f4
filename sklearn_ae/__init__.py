"""Autoencoders that stand where PCA stands in scikit-learn."""

from sklearn_ae._autoencoder import AutoencoderTransformer
from sklearn_ae._autoencoder_cv import AutoencoderTransformerCV
from sklearn_ae._outlier import AEOutlierDetector
from sklearn_ae._vae import VAETransformer

__all__ = ["AEOutlierDetector", "AutoencoderTransformer", "AutoencoderTransformerCV", "VAETransformer"]
__version__ = "0.1.0"
