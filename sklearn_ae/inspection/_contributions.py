"""Contributions of features and components to each other: the loadings of nonlinear models."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_scalar, resample

from sklearn_ae._utils.arrays import check_array, dense, numpy_only
from sklearn_ae._utils.differences import varying
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.runtime import kept_filters, private_random_state
from sklearn_ae._utils.transformers import check_decoder, encode
from sklearn_ae.inspection._cells import resolve_feature_names
from sklearn_ae.inspection._jacobians import Jacobians

_ROUNDING = 1e-8  # Contributions below this are rounding errors of 0


@kept_filters()
@numpy_only()
def component_contributions(
    estimator: Any,
    X: Any,
    *,
    feature_scale: str = "per_column",
    feature_names: Any = None,
    max_samples: int = 2000,
    random_state: Any = None,
) -> Bunch:
    r"""Return how strongly each component and each feature depend on each other: the loadings of a model.

    PCA's loadings are the derivatives of its linear decoder. Those of a nonlinear decoder and encoder
    differ from sample to sample. They are averaged over the samples X, in units of standard deviations:

    .. math::

        D_{ij} = \pm E_x \left| \frac{\partial \hat x_j}{\partial z_i} \right| \frac{s(z_i)}{s(x_j)},
        \qquad
        E_{ij} = \pm E_x \left| \frac{\partial z_i}{\partial x_j} \right| \frac{s(x_j)}{s(z_i)}

    with the sign of the mean derivative. D is the change of the reconstructed feature, in standard
    deviations of the feature, if the component changes by one standard deviation.

    Parameters
    ----------
    estimator : object
        Fitted transformer with ``inverse_transform``, including pipelines.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least 2 samples, such as the training samples.
    feature_scale : {"per_column", "shared"}, default="per_column"
        Standard deviation s(x_j) of a feature: its own, or the root of the mean variance of all
        features. "shared" suits decoders of features in the same unit, such as pixels: the contributions
        to those that hardly vary are then small.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the features. If None, those of a data frame, or x0, x1, ...
    max_samples : int, default=2000
        Maximum number of samples that are used, chosen at random.
    random_state : int, RandomState instance or None, default=None
        Determines the choice of samples. None uses fresh entropy, and does not affect NumPy's global
        generator.

    Returns
    -------
    contributions : Bunch
        ``decoder`` and ``encoder`` of shape (n_components, n_features): the contributions D and E. They
        have no unit.
        ``decoder_linear_share`` and ``encoder_linear_share`` of the same shape: squared mean of the
        derivative over its mean square. It is 1 for linear models, whose derivatives are the same at
        all samples, and 0 if the derivatives cancel on average.
        ``feature_names`` and ``component_names``: lists of str.

    Raises
    ------
    TypeError
        If the estimator lacks ``transform`` or ``inverse_transform``.
    ValueError
        If X has fewer than 2 samples or missing values, the estimator has no components, or a
        parameter is out of range.

    See Also
    --------
    ComponentContributionsDisplay : Draw the contributions.
    sklearn_ae.latent.traverse : Decode the changes of one component of a sample.

    Notes
    -----
    **PCA.** For the training samples and features in their own units (``feature_scale="per_column"``),
    D is the correlation of feature and component, the usual definition of a loading:
    ``components_[i, j] * s(z_i) / s(x_j)``, whitened or not. The sum of its squares over the components
    is the explained share of the feature's variance. E holds the weights of the standardised features
    in the standardised component.

    **Linear share.** The mean square of a derivative is the sum of its squared mean and its variance
    over the samples. The former is the part that a linear model with the same average slopes has, and
    their ratio is between 0 and 1. The sign of a contribution means little if its linear share is
    small: both directions occur.

    Derivatives of constant features and components, and those below 1e-8, count as 0 with a linear
    share of 1.

    Models of this package are differentiated automatically, also behind the scalers of
    scikit-learn; the derivatives of others are central differences with steps of a thousandth of a
    standard deviation, and take ``2 * n_features`` passes through the encoder.

    A contribution to the reconstruction above 1 is possible if the model is nonlinear, or if the feature
    has little weight in its loss. E is about changes of one feature alone. If features are correlated,
    the samples do not vary in this direction, and D is easier to interpret. An inactive component of a
    VAE has contributions D near 0, but not E, which is relative to its own small standard deviation.

    References
    ----------
    I. Jolliffe (2002), Principal Component Analysis, 2nd ed., Springer, section 2.3 (loadings);
    M. Gevrey, I. Dimopoulos, S. Lek (2003), Review and comparison of methods to study the
    contribution of variables in artificial neural network models, Ecological Modelling 160
    (partial derivatives).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ae.inspection import component_contributions
    >>> X = load_wine().data
    >>> pca = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    >>> contributions = component_contributions(pca, X)
    >>> contributions.decoder[0, :4].round(2)
    array([ 0.31, -0.53, -0.  , -0.52])
    >>> float(np.corrcoef(X[:, 0], pca.transform(X)[:, 0])[0, 1].round(2))
    0.31
    >>> bool(np.all(contributions.decoder_linear_share == 1))
    True
    """
    check_decoder(estimator, "estimator")
    check_scalar(max_samples, "max_samples", Integral, min_val=2)
    check_feature_scale(feature_scale)
    if getattr(last_step(estimator), "n_components_", None) == 0:
        raise ValueError("estimator has no components (n_components=0), and hence no contributions to them.")
    if X is None:
        raise TypeError("X is needed: pass samples, such as the training samples.")
    X = _subsample(X, max_samples, random_state)
    codes = encode(estimator, X, "X").astype(np.float64)
    samples = check_array(
        dense(X), dtype=np.float64, ensure_min_samples=2, ensure_all_finite="allow-nan", input_name="X"
    )
    if np.isnan(samples).any():
        raise ValueError(
            "Input X contains NaN, and derivatives are those at complete samples; pass samples without gaps, "
            "or complete them by impute or AEImputer."
        )
    std, code_std = _spread(samples, shared=False), _spread(codes, shared=True)
    jacobians = Jacobians(estimator, X, samples, codes, std=std, code_std=code_std)
    unit = std if feature_scale == "per_column" else np.where(std > 0, np.sqrt(np.mean(std**2)), 0.0)
    decoder, decoder_share = _averages(jacobians.decoder(), code_std[:, None] * _inverse(unit))
    encoder, encoder_share = _averages(jacobians.encoder(), _inverse(code_std)[:, None] * unit)
    return Bunch(
        decoder=decoder,
        encoder=encoder,
        decoder_linear_share=decoder_share,
        encoder_linear_share=encoder_share,
        feature_names=resolve_feature_names(feature_names, samples.shape[1], X, estimator),
        component_names=[f"Component {i + 1}" for i in range(codes.shape[1])],
    )


def check_feature_scale(feature_scale: Any) -> None:
    """Raise a ValueError unless the scale of the features is known."""
    if feature_scale not in ("per_column", "shared"):
        raise ValueError(
            f"feature_scale={feature_scale!r} is not known; valid strings are 'per_column' and 'shared'."
        )


def _subsample(X: Any, max_samples: int, random_state: Any) -> Any:
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if n <= max_samples:
        return X
    rng = private_random_state(random_state)
    return resample(X, replace=False, n_samples=max_samples, random_state=rng)


def _spread(values: np.ndarray, *, shared: bool) -> np.ndarray:
    """Return standard deviations, 0 for constants; ``shared`` if all columns have the same unit."""
    std = values.std(axis=0)
    return np.where(varying(values, std, np.sqrt(np.mean(std**2)) if shared else 0.0), std, 0.0)


def _inverse(std: np.ndarray) -> np.ndarray:
    """Return the inverse of standard deviations, 0 for constants."""
    return np.where(std > 0, 1.0 / np.where(std > 0, std, 1.0), 0.0)


def _averages(jacobians: Iterator[np.ndarray], unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the signed mean absolute derivatives, and the share of their mean square that is linear."""
    n, total, size, square = 0, np.zeros(unit.shape), np.zeros(unit.shape), np.zeros(unit.shape)
    for jac in jacobians:
        scaled = jac * unit
        n += len(scaled)
        total += scaled.sum(axis=0)
        size += np.abs(scaled).sum(axis=0)
        square += np.square(scaled).sum(axis=0)
    total, size, square = total / n, size / n, square / n
    none = square <= _ROUNDING**2
    share = np.where(none, 1.0, np.square(total) / np.where(none, 1.0, square))
    return np.where(none, 0.0, np.where(total < 0, -size, size)), np.minimum(share, 1.0)
