"""Export of fitted models to ONNX, for prediction without PyTorch and scikit-learn.

Importing this module registers the estimators with skl2onnx, so that ``skl2onnx.to_onnx``
exports pipelines that contain them.
"""

try:
    from sklearn_ae.onnx._converters import register as _register
    from sklearn_ae.onnx._converters import to_onnx
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("onnx", "skl2onnx"):
        raise
    raise ImportError('sklearn_ae.onnx requires skl2onnx: pip install "sklearn-ae[onnx]"') from error

_register()

__all__ = ["to_onnx"]
