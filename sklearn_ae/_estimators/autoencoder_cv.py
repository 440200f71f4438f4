"""Deterministic autoencoder with a cross-validated number of components."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn import get_config
from sklearn.base import clone
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter, MethodMapping, process_routing
from torch import nn

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.base import on_all_ranks, unchanged_on_error
from sklearn_ae._estimators.size_selection import (
    RULES,
    check_sizes,
    mean_log_likelihood,
    score_fold,
    tabulate,
)
from sklearn_ae._estimators.validation import check_memory, check_spec, validate_samples
from sklearn_ae._utils.compat import Interval, StrOptions, _fit_context
from sklearn_ae._utils.missing import has_missing
from sklearn_ae._utils.namespaces import as_numpy
from sklearn_ae._utils.parallel import call_all
from sklearn_ae._utils.parameters import check_groups
from sklearn_ae._utils.runtime import as_seed
from sklearn_ae.bottlenecks import Bottleneck
from sklearn_ae.corruptions import Corruption
from sklearn_ae.losses import Loss
from sklearn_ae.networks import Network
from sklearn_ae.penalties import Penalty
from sklearn_ae.priors import Prior


class AutoencoderTransformerCV(AutoencoderTransformer):
    """Autoencoder with the number of components selected by cross-validation.

    Each fold trains a single network for all candidate sizes, with a nested code: each
    training sample keeps its first 1, 2, 4, ... components [1]_. A short warm start
    tunes it to each size, which is then scored on the fold's test samples. Finally, an
    ``AutoencoderTransformer`` with the selected size is fitted to all samples.

    Parameters
    ----------
    n_components : array-like of int, int or "auto", default="auto"
        Candidate sizes. "auto" tries 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48 and 64, if
        smaller than both the number of training samples of a fold and the number of
        features.
    cv : int, cross-validation generator or iterable, default=5
        Cross-validation strategy, as for ``GridSearchCV``: an integer specifies the
        number of folds of ``KFold`` without shuffling.
    scoring : str, callable or None, default=None
        Scorer with the signature ``scoring(estimator, X, y)``, for example
        ``sklearn_ae.metrics.explained_variance_scorer``. None uses the mean
        log-likelihood in nats, as the ``score`` method does, with fewer draws. It
        peaks once further components only encode noise, whereas reconstruction
        scores increase with nearly every component and select the largest size.
    rule : {"best", "1se"}, default="best"
        "best" selects the size with the highest mean score, "1se" the smallest size
        within one standard error of it [2]_.
    n_jobs : int or None, default=None
        Number of folds fitted in parallel, as in joblib.
    hidden_layer_sizes, activation, network, init, bottleneck, corruption, loss, penalty : object
        Parameters of the underlying ``AutoencoderTransformer``.
    prior : {"normal", "mixture", "flow"} or Prior, default="normal"
        Prior of the code in the final fit; sizes are compared with the prior N(0, I).
    alpha, tied_weights, whiten, batch_size, learning_rate_init : object
        Parameters of the underlying ``AutoencoderTransformer``.
    max_iter : int or "auto", default="auto"
        Maximum number of epochs of the final fit. In the folds, the nested code is
        trained for a quarter of them (at least 25) and tuned to each size for a 25th
        (at least 4), but never for more than ``max_iter`` epochs.
    early_stopping, validation_fraction, n_iter_no_change, tol : object
        Parameters of the underlying ``AutoencoderTransformer``.
    random_state, device, precision, missing : object
        Parameters of the underlying ``AutoencoderTransformer``. All fits use the same
        seed.
    callbacks, verbose : object
        Used in the final fit only.

    Attributes
    ----------
    n_components_ : int
        The selected size.
    best_score_ : float
        Mean cross-validated score of the selected size.
    best_index_ : int
        Index of the selected size in ``cv_results_``.
    best_params_ : dict
        ``{"n_components": n_components_}``.
    cv_results_ : dict of ndarray
        As for ``GridSearchCV``, with sizes in increasing order: ``param_n_components``,
        ``params``, ``split0_test_score``, ..., ``mean_test_score``, ``std_test_score``,
        ``rank_test_score``, ``mean_score_time``, ``std_score_time``, ``mean_fit_time``
        and ``std_fit_time``. The fit time of a fold is divided evenly among the sizes.
    scorer_ : callable
        Scorer used on the test samples.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds used for the final fit.
    uses_network_, n_samples_, n_iter_, best_iter_, loss_curve_, validation_loss_curve_, pca_loss_ : object
        Attributes of the final ``AutoencoderTransformer``.
    network_, bottleneck_, corruption_, loss_, penalty_, prior_ : object
        Attributes of the final ``AutoencoderTransformer``.
    fitted_prior_, net_, module_, pca_ : object
        Attributes of the final ``AutoencoderTransformer``.
    mean_, scale_, noise_variance_, n_features_in_, feature_names_in_ : object
        Attributes of the final ``AutoencoderTransformer``.
    components_, explained_variance_, explained_variance_ratio_, singular_values_ : ndarray
        As for ``AutoencoderTransformer``: available for linear models, the ratio also
        for ordered codes.

    Raises
    ------
    ValueError
        If a size is not a positive integer or too large for a fold, or if no score is
        finite.

    See Also
    --------
    AutoencoderTransformer : Autoencoder with a given number of components.
    sklearn.model_selection.GridSearchCV : Trains each candidate separately, and also
        tunes other parameters.

    Notes
    -----
    Scores are computed after shorter training than that of the final fit. They are
    lower than those of separate training for each size, but peak at about the same
    size. If a size shows no significant gain over PCA on
    held-out samples of a fold, PCA is scored instead, as in an autoencoder of that size
    (``early_stopping``). Linear autoencoders equal PCA, so that all sizes are exact.
    Codes of sparse bottlenecks cannot be truncated; each size is then trained
    separately, as in a grid search.

    References
    ----------
    .. [1] A. Kusupati et al. (2022), Matryoshka representation learning, NeurIPS.
    .. [2] T. Hastie, R. Tibshirani, J. Friedman (2009), The elements of statistical
       learning, section 7.10.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AutoencoderTransformerCV
    >>> rng = np.random.RandomState(0)
    >>> X = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 10)) + 0.1 * rng.normal(size=(200, 10))
    >>> ae = AutoencoderTransformerCV([1, 2, 3, 4, 5], max_iter=20, random_state=0).fit(X)
    >>> ae.n_components_
    3
    >>> ae.transform(X).shape
    (200, 3)
    >>> ae.cv_results_["rank_test_score"]
    array([5, 4, 1, 2, 3], dtype=int32)
    """

    __metadata_request__fit = {"groups": UNUSED}  # routed to the splitter

    _remedy = "pass more samples, or train without a comparison by early_stopping=False"
    _parameter_constraints = {
        **AutoencoderTransformer._parameter_constraints,
        "n_components": ["array-like", Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "rule": [StrOptions(set(RULES))],
        "n_jobs": [Integral, None],
    }
    del _parameter_constraints["warm_start"]

    def __init__(
        self,
        n_components: Any = "auto",
        *,
        cv: Any = 5,
        scoring: str | Callable[..., float] | None = None,
        rule: str = "best",
        n_jobs: int | None = None,
        hidden_layer_sizes: int | Sequence[int] = (256, 128),
        activation: str = "gelu",
        network: str | Network | tuple[nn.Module, nn.Module] = "dense",
        init: str = "pca",
        bottleneck: str | Bottleneck = "identity",
        corruption: str | Corruption | Callable[..., Any] | None = None,
        loss: str | Loss = "squared_error",
        penalty: str | Penalty | None = None,
        prior: str | Prior = "normal",
        alpha: float = 0.01,
        tied_weights: bool = False,
        whiten: bool = False,
        batch_size: int | str = "auto",
        learning_rate_init: float = 0.007,
        max_iter: int | str = "auto",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 15,
        tol: float = 1e-4,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        missing: str = "error",
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_components,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            network=network,
            init=init,
            bottleneck=bottleneck,
            corruption=corruption,
            loss=loss,
            penalty=penalty,
            prior=prior,
            alpha=alpha,
            tied_weights=tied_weights,
            whiten=whiten,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            random_state=random_state,
            device=device,
            precision=precision,
            missing=missing,
            callbacks=callbacks,
            verbose=verbose,
        )
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.n_jobs = n_jobs

    @on_all_ranks
    @_fit_context(prefer_skip_nested_validation=True)
    @unchanged_on_error
    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Select the number of components and fit the autoencoder of that size to X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,), default=None
            Passed to ``cv`` and ``scoring``; ignored by the autoencoder.
        groups : array-like of shape (n_samples,), default=None
            Group of each sample, which splitters such as ``GroupKFold`` keep in one fold.
            With ``sklearn.set_config(enable_metadata_routing=True)``, pipelines and searches
            pass groups on to such splitters.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        X, y, groups = indexable(validate_samples(self, X, reset=True), as_numpy(y), as_numpy(groups))
        spec = check_spec(self._model_spec(), ArraySamples(X, incomplete=has_missing(X)), 1)
        folds = list(self._splits(X, y, groups))
        n_train = min(len(train) for train, _ in folds)
        sizes = check_sizes(self.n_components, n_train, X.shape[1], spec.is_limited)
        check_memory(spec, X.shape[1], sizes[-1])
        scorer = mean_log_likelihood if self.scoring is None else check_scoring(self, self.scoring)
        final = self._single_size()
        estimator = clone(final).set_params(callbacks=None, verbose=0, prior="normal")
        calls = (partial(score_fold, estimator, sizes, X, y, fold, scorer) for fold in folds)
        results = call_all(calls, self.n_jobs)
        scores = np.array([fold.scores for fold in results])
        index = RULES[self.rule](scores)
        start = time.perf_counter()
        final.set_params(n_components=sizes[index]).fit(X)
        self.refit_time_ = time.perf_counter() - start
        self._copy_fitted(final)
        self.cv_results_ = tabulate(sizes, results)
        self.best_index_ = index
        self.best_params_ = {"n_components": sizes[index]}
        self.best_score_ = float(scores[:, index].mean())
        self.scorer_ = scorer
        self.n_splits_ = len(folds)
        return self

    def _splits(self, X: Any, y: Any, groups: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        cv = check_cv(self.cv, y)
        check_groups(cv, groups)
        given = {} if groups is None else {"groups": groups}
        if get_config()["enable_metadata_routing"]:
            given = process_routing(self, "fit", **given).splitter.split
        return cv.split(X, y, **given)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the routing of metadata: the splitter ``cv`` receives the groups passed to ``fit``.

        Returns
        -------
        routing : MetadataRouter
            Routing information, as described in scikit-learn's user guide.
        """
        methods = (
            MethodMapping().add(caller="fit", callee="split").add(caller="fit_transform", callee="split")
        )
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(splitter=self.cv, method_mapping=methods)

    def _single_size(self) -> AutoencoderTransformer:
        """Return an autoencoder with these parameters and a fixed seed for all of its fits."""
        names = AutoencoderTransformer._get_param_names()
        shared = {name: value for name, value in self.get_params(deep=False).items() if name in names}
        return clone(AutoencoderTransformer(**shared)).set_params(random_state=as_seed(self.random_state))

    def _copy_fitted(self, fitted: AutoencoderTransformer) -> None:
        """Copy the fitted attributes of the final autoencoder."""
        params = fitted.get_params(deep=False)
        for name in vars(fitted).keys() - params.keys():
            setattr(self, name, getattr(fitted, name))

    @property
    def partial_fit(self) -> Any:
        """Not available: cross-validation requires all samples at once."""
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute 'partial_fit': cross-validation requires all "
            "samples at once. Use fit, or partial_fit of an AutoencoderTransformer."
        )
