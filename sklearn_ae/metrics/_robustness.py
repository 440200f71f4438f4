"""How codes stand noise, and whether what they are drawn from stands for the rows.

The measures take any fitted transformer with ``transform`` and
``inverse_transform``, pipelines among them. Rows and codes are in the units in which
the model takes and gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_scalar, get_tags

from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.parameters import check_density, finite_number
from sklearn_ae._utils.pipelines import first_step, last_step
from sklearn_ae._utils.runtime import private_random_state
from sklearn_ae._utils.transformers import decode, encode
from sklearn_ae.latent import sample_latent

_STEP = 1e-3  # of the finite differences, in standard deviations of the columns
_BLOCK_VALUES = 2**22  # encoded at a time


def noise_sensitivity(model, X, *, noise_scale=0.1, noise="shared", n_repeats=5, random_state=None):
    """Relative shift of the codes under noise on the rows: how *robust* a representation is.

    The root mean square of the distance between the codes of a row with and without
    noise, over that of the distance between a row's code and the mean code.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    noise_scale : float, default=0.1
        Standard deviation of the normal noise, relative to that of the rows.
    noise : {"shared", "per_column"}, default="shared"
        Whether the noise has the same variance in all columns, relative to the mean of
        their variances (the unit of ``corruption="gaussian"``), or in each column
        relative to its own variance, as it befits columns of different units.
    n_repeats : int, default=5
        Noises per row.
    random_state : int, RandomState instance or None, default=None
        Decides the noise. None takes fresh entropy and leaves NumPy's global generator
        alone.

    Returns
    -------
    shift : float
        0 is a code that noise does not move. For PCA with variances ``lambda_i`` and
        shared noise it is ``noise_scale * sqrt(k * mean variance / sum(lambda_i))``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or all rows have the same code.

    See Also
    --------
    lipschitz_estimate : The worst direction rather than the average one.

    Notes
    -----
    Rows for models that take no negative ones, such as NMF, are cut off at 0.

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
    codes, rows = encode(model, X, "X").astype(np.float64), _as_array(X)
    spread = codes.var(axis=0).sum()
    if not spread > 0:
        raise ValueError("All rows of X have the same code, beside which no shift is small or large.")
    scale, rng = noise_scale * _NOISES[noise](rows.var(axis=0)), private_random_state(random_state)
    shifts = []
    for _ in range(n_repeats):
        noisy = np.maximum(rows + scale * rng.standard_normal(rows.shape), _least(model))
        shifts.append(_squared_shift(model, _like(X, noisy), codes))
    return float(np.sqrt(np.mean(shifts) / spread))


_NOISES: dict[str, Callable[[np.ndarray], Any]] = {
    "shared": lambda variances: np.sqrt(variances.mean()),
    "per_column": np.sqrt,
}


def _squared_shift(model: Any, X: Any, codes: np.ndarray) -> float:
    """Mean over rows of the squared distance between their codes and others."""
    return float(np.square(encode(model, X, "X") - codes).sum(axis=1).mean())


def lipschitz_estimate(model, X):
    """Local Lipschitz constant of the encoder at each row: how far it can move a code per change of the row.

    It is the largest singular value of the encoder's Jacobian, found by central
    differences along every column, with steps of a thousandth of its standard
    deviation. Nothing is random.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, at least 2. Each takes ``2 * n_features`` passes through the encoder: of images a
        hundred rows may do.

    Returns
    -------
    constants : ndarray of shape (n_samples,)
        In units of the code per unit of X. 1 for PCA, and ``1 / sqrt(min(lambda_i))`` for
        PCA with ``whiten=True``. Their maximum is a lower bound of the encoder's Lipschitz constant.

    Raises
    ------
    ValueError
        If X has fewer than 2 rows.

    See Also
    --------
    noise_sensitivity : The shift under random noise, free of units.

    Notes
    -----
    Encoders that iterate, such as NMF's, have to converge closely: what they leave is
    divided by a small step. Rows for NMF are not moved below 0.

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
    k, rows = encode(model, X, "X").shape[1], _as_array(X)
    if len(rows) < 2:
        raise ValueError("X must have at least 2 rows, whose spread the steps are measured by; got 1.")
    steps = _steps(rows)
    d, least = rows.shape[1], _least(model)
    size = max(1, _BLOCK_VALUES // (2 * d * max(d, k)))
    parts = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size, None]
        up, down = block + np.diag(steps), np.maximum(block - np.diag(steps), least)
        moved = np.concatenate([up, down], axis=1).reshape(-1, d)
        codes = encode(model, _like(X, moved), "X").reshape(-1, 2, d, k)
        gap = np.diagonal(up - down, axis1=1, axis2=2)[..., None]
        jacobian = (codes[:, 0] - codes[:, 1]) / gap
        parts.append(np.linalg.norm(jacobian, ord=2, axis=(1, 2)))
    return np.concatenate(parts)


def _steps(rows: np.ndarray) -> np.ndarray:
    """Step of each column; constant ones take that of the others, or of a unit."""
    std = rows.std(axis=0)
    typical = np.sqrt(np.mean(std**2)) or 1.0
    return _STEP * np.where(std > 1e-12 * np.maximum(typical, np.abs(rows).max(axis=0)), std, typical)


def round_trip_error(model, X=None, n_samples=1000, *, density="auto", random_state=None):
    """Error of drawn codes after a round trip: how *representative* the latent space is.

    Codes are drawn, decoded and encoded again. Where the decoder folds two codes onto
    one row, or the encoder does not know what the decoder makes of a code that it has
    not met, they do not come back.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features), default=None
        Rows whose codes the density is fitted to. Not needed for models that have a prior.
    n_samples : int, default=1000
        Codes to draw.
    density : {"auto", "gaussian", "mixture"} or estimator, default="auto"
        What codes are drawn from, as in :func:`sklearn_ae.latent.sample_latent`. "auto" takes
        the model's own prior, if it is a ``VAETransformer`` or a pipeline that ends in one, and
        "gaussian" otherwise.
    random_state : int, RandomState instance or None, default=None
        Decides the draws. None takes fresh entropy and leaves NumPy's global generator
        alone.

    Returns
    -------
    error : float
        Mean squared distance between a drawn code and the one that comes back, relative
        to the mean squared distance of the drawn codes from their mean. 0 for PCA; 1 is
        what the mean code in their place would have.

    Raises
    ------
    ValueError
        If X is missing and there is no prior, or a parameter is out of range.

    Notes
    -----
    The decoder's mean is encoded, without the noise of its likelihood. A VAE's
    posterior means are shrunk towards the prior, which is in the error, and each
    component that is not active adds its share, 1 / n_components. Decoded rows for models
    that take no negative ones, such as NMF, are cut off at 0.

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
        rows, codes = _from_prior(model, last, n_samples, random_state)
    else:
        density = "gaussian" if automatic else density
        check_density(density)
        if X is None:
            raise ValueError(
                "X=None needs density='auto' and a model with a prior, such as VAETransformer: pass rows "
                "whose codes the density is to be fitted to, such as X=X_train."
            )
        rows, codes = sample_latent(
            model, X, n_samples, density=density, random_state=random_state, return_codes=True
        )
    spread = codes.var(axis=0).sum()
    if not spread > 0:
        raise ValueError("All drawn codes are the same, beside which no error is small or large.")
    rows = np.maximum(rows, _least(model))
    rows = _named(model, rows) if X is None else _like(X, rows)
    return _squared_shift(model, rows, codes) / float(spread)


def _from_prior(model: Any, last: Any, n_samples: int, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows decoded from codes drawn from the model's prior, and the codes."""
    _, codes = last.sample(n_samples, random_state, noise=False, return_codes=True)
    return decode(model, codes, np.float64), codes


# -- rows -----------------------------------------------------------------------------------


def _as_array(X: Any) -> np.ndarray:
    return check_array(dense(X), dtype=np.float64, input_name="X")


def _least(model: Any) -> float:
    """The least entry of rows that the model takes: 0 for NMF and its like, which tags tell."""
    first = first_step(model)
    if hasattr(first, "__sklearn_tags__") and get_tags(first).input_tags.positive_only:
        return 0.0
    return -np.inf


def _like(X: Any, rows: np.ndarray) -> Any:
    """Rows with the names of X's columns, where it has any, so that the model knows them."""
    if not hasattr(X, "columns"):
        return rows
    names = {"columns": X.columns} if hasattr(X, "iloc") else {"schema": list(X.columns)}
    return type(X)(rows, **names)


def _named(model: Any, rows: np.ndarray) -> Any:
    """Rows with the names that the model knows its columns by, if any."""
    names = getattr(first_step(model), "feature_names_in_", None)
    if names is None:
        return rows
    import pandas as pd

    return pd.DataFrame(rows, columns=names)
