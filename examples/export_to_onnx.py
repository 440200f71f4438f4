"""
Predict without PyTorch
=======================

A pipeline of scaler, autoencoder and classifier is exported to ONNX. Another process predicts with it without
importing PyTorch or scikit-learn. One sample takes a small fraction of the time, because nothing is
validated.
"""

# %%
# Train and export
# ----------------
# Importing ``sklearn_ae.onnx`` registers the estimators with skl2onnx. The sample ``X[:1]`` determines the
# type of the input, here float32.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/export_to_onnx.png'
import json
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

import numpy as np
import skl2onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_ae.onnx  # noqa: F401
from sklearn_ae import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X.astype(np.float32), y, random_state=0)
model = make_pipeline(
    StandardScaler(),
    AutoencoderTransformer(16, max_iter=30, random_state=0),
    LogisticRegression(max_iter=1000),
)
model.fit(X_train, y_train)

folder = Path(tempfile.mkdtemp())
exported = skl2onnx.to_onnx(model, X_test[:1], options={"zipmap": False})
(folder / "model.onnx").write_bytes(exported.SerializeToString())
np.save(folder / "X_test.npy", X_test)
print(f"size of the file: {(folder / 'model.onnx').stat().st_size / 1e3:.0f} kB")

# %%
# Predict in another process
# --------------------------
# The script requires NumPy and onnxruntime. It predicts all test samples, and measures the time of one.

SCRIPT = """
import json
import sys
import timeit

import numpy as np
from onnxruntime import InferenceSession, SessionOptions

options = SessionOptions()
options.intra_op_num_threads = 1  # one sample is too little work to share
session = InferenceSession("model.onnx", options)
X = np.load("X_test.npy")
labels, probabilities = session.run(None, {"X": X})
one = X[:1]
seconds = min(timeit.repeat(lambda: session.run(None, {"X": one}), number=200, repeat=5)) / 200

assert "torch" not in sys.modules
assert "sklearn" not in sys.modules
print(json.dumps({"labels": labels.tolist(), "probabilities": probabilities.tolist(), "seconds": seconds}))
"""

done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=folder, stdout=subprocess.PIPE, check=True)
found = json.loads(done.stdout)

same = np.mean(found["labels"] == model.predict(X_test))
difference = np.abs(found["probabilities"] - model.predict_proba(X_test)).max()
print(f"equal labels: {100 * same:.0f} %")
print(f"largest difference of probabilities: {difference:.0e}")
print(f"accuracy: {100 * np.mean(found['labels'] == y_test):.1f} %")

# %%
# Time of one sample
# ------------------
# scikit-learn validates the input in each step, and PyTorch is called for two small layers. In large batches
# the products of matrices take most of the time, and both are about as fast.

seconds = min(timeit.repeat(lambda: model.predict(X_test[:1]), number=50, repeat=5)) / 50
print(f"one sample: {1e6 * seconds:.0f} us by the pipeline, {1e6 * found['seconds']:.0f} us by onnxruntime")
print(f"times faster: {seconds / found['seconds']:.0f}")
