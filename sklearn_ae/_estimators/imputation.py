"""Imputation of missing values by a fitted autoencoder, and errors of the observed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Generator

from sklearn_ae._density.imputation import draw_missing
from sklearn_ae._estimators.inference import follows_input, with_feature_names
from sklearn_ae._estimators.validation import model_masks_missing, validate_samples
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._utils.arrays import dense, stacked, sum_of_observed
from sklearn_ae._utils.parameters import check_positive
from sklearn_ae._utils.runtime import MAX_SEED, private_random_state, threads_for


def _imputes(self: Any) -> bool:
    if not model_masks_missing(self):
        raise AttributeError(
            f"impute is not available, because missing='error' refuses missing values; set missing='mask' in "
            f"{type(self).__name__} and fit it again."
        )
    return True


class Imputation:
    """Mixin of estimators that leave missing values out with ``missing="mask"``."""

    module_: Any

    @available_if(_imputes)
    @follows_input()
    def impute(
        self,
        X: Any,
        n_draws: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Fill in missing values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; missing values are NaN.
        n_draws : int, default=None
            None returns the conditional mean of the missing values given the observed
            ones: that of the normal distribution if the model is linear. Otherwise it is
            averaged with what the decoder reconstructs, with the weight that is best for
            values that are hidden in held-out samples. An integer returns this number of draws from
            the conditional distribution of the missing values, for multiple imputation
            [1]_.
        random_state : int, RandomState instance or None, default=None
            Controls the draws; None uses fresh entropy.

        Returns
        -------
        X_filled : {ndarray, DataFrame} of shape (n_samples, n_features) or \
(n_draws, n_samples, n_features)
            Samples whose observed values are those of X. A DataFrame if ``set_output``
            selects one and ``n_draws`` is None. A feature without any training value is
            filled with 0.

        Raises
        ------
        AttributeError
            If ``missing="error"``.

        References
        ----------
        .. [1] D. B. Rubin (1987), Multiple imputation for nonresponse in surveys, Wiley.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_ae import AutoencoderTransformer
        >>> X = load_iris().data
        >>> X[::3, 2] = np.nan
        >>> ae = AutoencoderTransformer(2, missing="mask", random_state=0).fit(X)
        >>> bool(np.isnan(ae.impute(X)).any())
        False
        >>> ae.impute(X, n_draws=5, random_state=0).shape
        (5, 150, 4)
        """
        check_is_fitted(self)
        X = dense(validate_samples(self, X))
        self.module_.loss.check(X)
        if n_draws is None:
            return with_feature_names(self, self._with_means(X), X)
        check_positive("n_draws", n_draws)
        rng = private_random_state(random_state)
        return self._with_draws(X, int(n_draws), rng)

    @torch.inference_mode()
    def _with_means(self: Any, X: np.ndarray) -> np.ndarray:
        """Return samples with conditional means for missing values."""
        missing = np.isnan(X)
        if not missing.any():
            return X.copy()
        module = self.module_
        with threads_for(module.n_weights, len(X)):
            parts = (module.imputed(x) for x in working_blocks(module, X))
            filled = stacked(parts, len(X)).astype(X.dtype, copy=False)
        return np.where(missing, filled, X)

    @torch.inference_mode(False)
    def _with_draws(self: Any, X: np.ndarray, n_draws: int, rng: np.random.RandomState) -> np.ndarray:
        """Return draws of samples, in which missing values vary."""
        missing = np.isnan(X)
        whole = np.repeat(X[None], n_draws, axis=0)
        rows = missing.any(axis=1)
        if rows.any():
            generator = Generator().manual_seed(int(rng.randint(MAX_SEED)))
            drawn = draw_missing(self._posterior(), X[rows], n_draws, generator)
            whole[:, rows] = np.where(missing[rows], drawn, X[rows])
        return whole

    @np.errstate(over="ignore")  # the error of an extreme sample is infinite
    def _squared_errors(self: Any, X: Any) -> Any:
        errors = (X - self._inverse_transform(self._transform(X))) ** 2
        return sum_of_observed(errors) if self._spec.masks_missing else errors.sum(axis=1)
