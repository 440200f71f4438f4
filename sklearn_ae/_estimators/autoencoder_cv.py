"""The deterministic autoencoder that chooses the size of its code by cross-validation."""

from __future__ import annotations

import time
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import indexable
from sklearn.utils.parallel import Parallel, delayed

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.size_selection import (
    RULES,
    check_sizes,
    mean_log_likelihood,
    score_fold,
    tabulate,
)
from sklearn_ae._estimators.validation import check_spec, validate_rows
from sklearn_ae._utils.compat import Interval, StrOptions, _fit_context
from sklearn_ae._utils.runtime import as_seed


class AutoencoderTransformerCV(AutoencoderTransformer):
    """Autoencoder whose number of components is chosen by cross-validation, in one fit per fold.

    Does for ``AutoencoderTransformer`` what ``LassoCV`` does for ``Lasso``. In each
    fold one network is trained for all sizes: its code is nested, each row is cut to
    its first 1, 2, 4, ... components [1]_. A short warm start tunes it to each size,
    which is scored on the fold's test rows. With the size that was chosen, an
    ``AutoencoderTransformer`` is fitted to all rows, and this is that autoencoder.

    Parameters
    ----------
    n_components : array-like of int, int or "auto", default="auto"
        Sizes to try. "auto" tries 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48 and 64, as far
        as they are smaller than the training part of a fold in both directions.
    cv : int, cross-validation generator or iterable, default=5
        Folds, as for ``GridSearchCV``: an integer means ``KFold`` without shuffling.
    scoring : str, callable or None, default=None
        ``scoring(estimator, X, y)``, higher is better, such as
        ``sklearn_ae.metrics.explained_variance_scorer``. None is the mean
        log-likelihood in nats, the estimator's own ``score``, from fewer draws. It can have its
        maximum where further components code_statistics noise; reconstruction scores rise with
        nearly every component, so that the largest size wins.
    rule : {"best", "1se"}, default="best"
        "best" takes the size with the highest mean score, "1se" the smallest one
        within one standard error of it [2]_.
    n_jobs : int or None, default=None
        Folds that are fitted at the same time, as joblib counts them.
    hidden_layer_sizes, activation, network, init, bottleneck, corruption, loss, penalty : object
        What the autoencoder is: see ``AutoencoderTransformer``, here and below.
    alpha, tied_weights, whiten, batch_size, learning_rate_init : object
        As there.
    max_iter : int or "auto", default="auto"
        Epochs of the last fit, on all rows. In the folds a quarter of them (30 at least, if there
        are) trains the nested code, and a tenth (10 at least) tunes it to each size.
    early_stopping, validation_fraction, n_iter_no_change, tol : object
        As there.
    random_state, device, precision : object
        As there; every fit draws the same numbers.
    callbacks, verbose : object
        As there; they attend the last fit.

    Attributes
    ----------
    n_components_ : int
        The size that was chosen.
    best_score_ : float
        Mean score over the folds at that size.
    best_index_ : int
        Its place in ``cv_results_``.
    best_params_ : dict
        ``{"n_components": n_components_}``.
    cv_results_ : dict of ndarray
        As that of ``GridSearchCV``, sizes in increasing order: ``param_n_components``,
        ``params``, ``split0_test_score``, ..., ``mean_test_score``, ``std_test_score``,
        ``rank_test_score``, ``mean_score_time``, ``std_score_time``; ``mean_fit_time`` and
        ``std_fit_time`` share the time of a fold's one fit among the sizes.
    scorer_ : callable
        What scored.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the fit on all rows.
    uses_network_, n_samples_, n_iter_, best_iter_, loss_curve_, validation_loss_curve_, pca_loss_ : object
        Those of the ``AutoencoderTransformer`` of the chosen size, here and below.
    network_, bottleneck_, corruption_, loss_, penalty_, net_, module_, pca_ : object
        As there.
    mean_, scale_, noise_variance_, n_features_in_, feature_names_in_ : object
        As there.
    components_, explained_variance_, explained_variance_ratio_, singular_values_ : ndarray
        As there: for linear models, the ratio also for ordered codes.

    Raises
    ------
    ValueError
        If a size is not a positive integer or too large for a fold, or no score is finite.

    See Also
    --------
    AutoencoderTransformer : The autoencoder of one size.
    sklearn.model_selection.GridSearchCV : Trains each size by itself, and tries other parameters.

    Notes
    -----
    The scores are those of shorter trainings. Near the best size an autoencoder that is
    trained for one size comes out about as good; very small codes come out better.
    Where a size shows no gain over PCA on held-out rows of a fold, PCA stands in, as for
    an autoencoder of that size (``early_stopping``). Linear autoencoders are PCA, whose
    sizes are exact. With sparse bottlenecks, whose codes cannot be cut, each size is
    trained by itself, as in a grid search.

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

    _parameter_constraints = {
        **AutoencoderTransformer._parameter_constraints,
        "n_components": ["array-like", Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "rule": [StrOptions(set(RULES))],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        cv=5,
        scoring=None,
        rule="best",
        n_jobs=None,
        hidden_layer_sizes=(256, 128),
        activation="gelu",
        network="dense",
        init="pca",
        bottleneck="identity",
        corruption=None,
        loss="squared_error",
        penalty=None,
        alpha=0.01,
        tied_weights=False,
        whiten=False,
        batch_size="auto",
        learning_rate_init=0.003,
        max_iter="auto",
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=40,
        tol=1e-4,
        random_state=None,
        device="cpu",
        precision="auto",
        callbacks=None,
        verbose=0,
    ):
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
            callbacks=callbacks,
            verbose=verbose,
        )
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Choose the number of components, and fit the autoencoder of that size to X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,), default=None
            Handed to ``cv`` and to ``scoring``; the autoencoder does not see it.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        X, y = indexable(validate_rows(self, X, reset=True), y)
        data = ArraySamples(X)
        spec = check_spec(self._model_spec(), data, 1)
        folds = list(check_cv(self.cv, y).split(X, y))
        n_train = min(len(train) for train, _ in folds)
        sizes = check_sizes(self.n_components, n_train, X.shape[1], spec.is_limited)
        scorer = mean_log_likelihood if self.scoring is None else check_scoring(self, self.scoring)
        one = self._of_one_size()
        silent = clone(one).set_params(callbacks=None, verbose=0)
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(score_fold)(silent, sizes, X, y, fold, scorer) for fold in folds
        )
        scores = np.array([fold.scores for fold in results])
        index = RULES[self.rule](scores)
        start = time.perf_counter()
        one.set_params(n_components=sizes[index]).fit(X)
        self.refit_time_ = time.perf_counter() - start
        self._take_over_from(one)
        self.cv_results_ = tabulate(sizes, results)
        self.best_index_, self.best_params_ = index, {"n_components": sizes[index]}
        self.best_score_ = float(scores[:, index].mean())
        self.scorer_, self.n_splits_ = scorer, len(folds)
        return self

    def _of_one_size(self) -> AutoencoderTransformer:
        """The autoencoder with this one's parameters; every fit of it draws the same numbers."""
        names = AutoencoderTransformer._get_param_names()
        shared = {name: value for name, value in self.get_params(deep=False).items() if name in names}
        return clone(AutoencoderTransformer(**shared)).set_params(random_state=as_seed(self.random_state))

    def _take_over_from(self, one: AutoencoderTransformer) -> None:
        """Be the fitted autoencoder: take all that it has learnt."""
        params = one.get_params(deep=False)
        for name in vars(one).keys() - params.keys():
            setattr(self, name, getattr(one, name))

    @property
    def partial_fit(self):
        """Not there: the folds need all rows at once."""
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute 'partial_fit': its folds need all rows at once."
            " Use fit, or partial_fit of an AutoencoderTransformer."
        )
