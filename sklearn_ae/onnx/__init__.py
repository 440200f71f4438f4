"""Export of fitted models to ONNX, for prediction without PyTorch and scikit-learn.

Importing this module registers the estimators with skl2onnx, so that ``skl2onnx.to_onnx``
exports pipelines that contain them.
"""

try:
    import onnx as _onnx
    import skl2onnx as _skl2onnx
except ImportError as error:
    raise ImportError('sklearn_ae.onnx requires the package skl2onnx: pip install "sklearn-ae[onnx]"') from error

from sklearn_ae.onnx._converters import register as _register
from sklearn_ae.onnx._converters import to_onnx

_register()

__all__ = ["to_onnx"]
