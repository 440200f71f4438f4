"""Robustness of codes to input noise, and consistency of decoding and re-encoding latent draws.

The measures take any fitted transformer with ``transform`` and ``inverse_transform``,
including pipelines, and use the units of its input and output.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from sklearn_ae._utils.arrays import check_array, dense, numpy_only
from sklearn_ae._utils.differences import STEP, jacobian_blocks, varying
from sklearn_ae._utils.parameters import check_density, finite_number
from sklearn_ae._utils.pipelines import first_step, last_step
from sklearn_ae._utils.runtime import kept_filters, private_random_state
from sklearn_ae._utils.transformers import decode, encode, in_frame_of, minimum_input
from sklearn_ae.latent import sample_latent


@kept_filters()
@numpy_only()
def noise_sensitivity(
    model: Any,
    X: Any,
    *,
    noise_scale: float = 0.1,
    noise: str = "shared",
    n_repeats: int = 5,
    random_state: Any = None,
) -> float:
    """Return the relative shift of the codes under input noise: how *robust* a representation is.

    It is the root mean square distance between the codes of a sample with and without
    noise, divided by that between the codes and their mean.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples to which noise is added.
    noise_scale : float, default=0.1
        Standard deviation of the normal noise, relative to that of X.
    noise : {"shared", "per_column"}, default="shared"
        "shared" noise has the same variance in all features, relative to the mean of their variances
        (the unit of ``corruption="gaussian"``). "per_column" is relative to the variance of each
        feature, and suits features in different units.
    n_repeats : int, default=5
        Number of noise draws per sample.
    random_state : int, RandomState instance or None, default=None
        Determines the noise. None uses fresh entropy, and does not affect NumPy's global generator.

    Returns
    -------
    shift : float
        0 if noise does not change the codes. For PCA with variances ``lambda_i`` and
        shared noise it is ``noise_scale * sqrt(k * mean variance / sum(lambda_i))``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or all samples have the same code.

    See Also
    --------
    lipschitz_estimate : Sensitivity in the worst direction instead of a random one.

    Notes
    -----
    Noisy samples for models that require nonnegative input, such as NMF, are clipped at 0.

    References
    ----------
    P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol (2008), Extracting and composing robust
    features with denoising autoencoders, ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.metrics import noise_sensitivity
    >>> X = load_digits().data
    >>> round(noise_sensitivity(PCA(n_components=8).fit(X), X, random_state=0), 3)
    0.043
    """
    finite_number(noise_scale, "noise_scale")
    check_scalar(noise_scale, "noise_scale", (int, float, np.floating), min_val=0)
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    if noise not in list(_NOISES):
        raise ValueError(f"noise={noise!r} is not known; valid strings are 'shared' and 'per_column'.")
    codes, clean = encode(model, X, "X").astype(np.float64), _as_array(X)
    spread = codes.var(axis=0).sum()
    if not spread > 0:
        raise ValueError("All samples have the same code, so the relative shift is undefined.")
    scale, rng = noise_scale * _NOISES[noise](clean.var(axis=0)), private_random_state(random_state)
    shifts = []
    for _ in range(n_repeats):
        noisy = np.maximum(clean + scale * rng.standard_normal(clean.shape), minimum_input(model))
        shifts.append(_squared_shift(model, in_frame_of(X, noisy), codes))
    return float(np.sqrt(np.mean(shifts) / spread))


_NOISES: dict[str, Callable[[np.ndarray], Any]] = {
    "shared": lambda variances: np.sqrt(variances.mean()),
    "per_column": np.sqrt,
}


def _squared_shift(model: Any, X: Any, codes: np.ndarray) -> float:
    """Return the mean squared distance between the codes of X and the given ones."""
    return float(np.square(encode(model, X, "X") - codes).sum(axis=1).mean())


@kept_filters()
@numpy_only()
def lipschitz_estimate(model: Any, X: Any) -> np.ndarray:
    """Return the local Lipschitz constant of the encoder at each sample.

    It is the largest change of the code per change of the sample: the largest singular value of the
    encoder's Jacobian, which is computed by central differences along every feature with steps of a
    thousandth of its standard deviation. The result is deterministic.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least 2 samples. Each takes ``2 * n_features`` passes through the encoder, so that a
        hundred images may suffice.

    Returns
    -------
    constants : ndarray of shape (n_samples,)
        In units of the code per unit of X. 1 for PCA, and ``1 / sqrt(min(lambda_i))`` for
        PCA with ``whiten=True``. The maximum is a lower bound on the encoder's Lipschitz constant.

    Raises
    ------
    ValueError
        If X has fewer than 2 samples.

    See Also
    --------
    noise_sensitivity : Shift under random noise, independent of units.

    Notes
    -----
    Iterative encoders, such as NMF's, have to converge closely, because their error is divided by a
    small step. Steps for models that require nonnegative input, such as NMF, stop at 0.

    References
    ----------
    S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio (2011), Contractive auto-encoders:
    explicit invariance during feature extraction, ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.metrics import lipschitz_estimate
    >>> X = load_iris().data
    >>> lipschitz_estimate(PCA(n_components=2).fit(X), X[:5]).round(3)
    array([1., 1., 1., 1., 1.])
    """
    k, centres = encode(model, X, "X").shape[1], _as_array(X)
    if len(centres) < 2:
        raise ValueError("X must have at least 2 samples, whose spread determines the steps; got 1.")
    jacobians = jacobian_blocks(
        lambda moved: encode(model, in_frame_of(X, moved), "X"),
        centres,
        _steps(centres),
        k,
        minimum_input(model),
    )
    return np.concatenate([np.linalg.norm(jac, ord=2, axis=(1, 2)) for jac in jacobians])


def _steps(X: np.ndarray) -> np.ndarray:
    """Return the step for each feature; that of constant ones is typical of the others, or of 1."""
    std = X.std(axis=0)
    typical = np.sqrt(np.mean(std**2)) or 1.0
    return STEP * np.where(varying(X, std, typical), std, typical)


@kept_filters()
@numpy_only()
def round_trip_error(
    model: Any,
    X: Any = None,
    n_samples: int = 1000,
    *,
    density: Any = "auto",
    random_state: Any = None,
) -> float:
    """Return the error of latent draws after a round trip: how *representative* the latent space is.

    Codes are drawn, decoded and encoded again. They are not recovered if the decoder maps two codes
    to the same sample, or if the encoder does not invert the decoder at codes unlike those of the
    training data.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features), default=None
        Samples to whose codes the density is fitted. Not needed for models that have a prior.
    n_samples : int, default=1000
        Number of codes to draw.
    density : {"auto", "gaussian", "mixture"} or estimator, default="auto"
        Density of the drawn codes, as in :func:`sklearn_ae.latent.sample_latent`. "auto" is the
        model's own prior for a ``VAETransformer`` or a pipeline that ends in one, and
        "gaussian" otherwise.
    random_state : int, RandomState instance or None, default=None
        Determines the draws. None uses fresh entropy, and does not affect NumPy's global generator.

    Returns
    -------
    error : float
        Mean squared distance between drawn and recovered codes, relative to that between the drawn
        codes and their mean. 0 for PCA; 1 if the mean code is recovered from every draw.

    Raises
    ------
    ValueError
        If X is missing and there is no prior, or a parameter is out of range.

    Notes
    -----
    The decoder's mean is encoded, without the noise of its likelihood. The error of a VAE includes
    the shrinkage of its posterior means towards the prior, and 1 / n_components for each inactive
    component. Decoded samples for models that require nonnegative input, such as NMF, are clipped
    at 0.

    References
    ----------
    T. Cemgil, S. Ghaisas, K. Dvijotham, S. Gowal, P. Kohli (2020), The autoencoding variational
    autoencoder, NeurIPS.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.metrics import round_trip_error
    >>> X = load_digits().data
    >>> round(round_trip_error(PCA(n_components=8).fit(X), X, random_state=0), 10)
    0.0
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=2)
    last = last_step(model)
    automatic = isinstance(density, str) and density == "auto"
    if automatic and hasattr(last, "sample") and hasattr(last, "posterior"):
        decoded, codes = _from_prior(model, last, n_samples, random_state)
    else:
        density = "gaussian" if automatic else density
        check_density(density)
        if X is None:
            raise ValueError(
                "X=None needs density='auto' and a model with a prior, such as VAETransformer: pass samples "
                "for fitting the density, such as X=X_train."
            )
        decoded, codes = sample_latent(
            model, X, n_samples, density=density, random_state=random_state, return_codes=True
        )
    spread = codes.var(axis=0).sum()
    if not spread > 0:
        raise ValueError("All drawn codes are the same, so the relative error is undefined.")
    decoded = np.maximum(decoded, minimum_input(model))
    decoded = _in_training_frame(model, decoded) if X is None else in_frame_of(X, decoded)
    return _squared_shift(model, decoded, codes) / float(spread)


def _from_prior(model: Any, last: Any, n_samples: int, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return samples decoded from draws from the model's prior, and the draws."""
    _, codes = last.sample(n_samples, random_state, noise=False, return_codes=True)
    return decode(model, codes, np.float64), codes


# -- input of the model ---------------------------------------------------------------------


def _as_array(X: Any) -> np.ndarray:
    return check_array(dense(X), dtype=np.float64, input_name="X")


def _in_training_frame(model: Any, values: np.ndarray) -> Any:
    """Return a data frame with the feature names that the model was fitted with, if any."""
    names = getattr(first_step(model), "feature_names_in_", None)
    if names is None:
        return values
    import pandas as pd

    return pd.DataFrame(values, columns=names)
