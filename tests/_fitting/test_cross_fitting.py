"""Small data: if one validation set shows no gain over PCA, folds decide."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, Checkpoint, EpochScoring, LRScheduler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae._fitting.pipeline import MIN_SAMPLES_IN_FOLDS
from sklearn_ae._model.statistics import shows_a_gain

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def fit(X, k=1, estimator=AutoencoderTransformer, **params):
    params = {"hidden_layer_sizes": (32,), "random_state": 0, **params}
    fit_params = {name: params.pop(name) for name in ("X_val", "X_clean") if name in params}
    return estimator(k, **params).fit(X, **fit_params)


def in_folds(model):
    return model.summary().n_folds > 1


@pytest.mark.parametrize("n", [MIN_SAMPLES_IN_FOLDS, 90])
def test_a_gain_is_found_with_fewer_samples_than_one_validation_set_needs(curve, n):
    """Ten per cent of these samples are too few for a comparison; all of them in folds are not."""
    X, test = curve[:n], curve[n:]
    model, pca = fit(X), PCA(1).fit(X)
    assert in_folds(model)
    assert model.uses_network_
    theirs = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    assert model.reconstruction_error(test).mean() < 0.7 * theirs
    assert model.summary().n_held_out == n


def test_fewer_samples_are_pca_without_training(curve):
    model = fit(curve[: MIN_SAMPLES_IN_FOLDS - 1])
    assert not in_folds(model)
    assert not model.uses_network_
    assert model.loss_curve_ == []


@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
def test_noise_is_pca_of_all_samples(estimator):
    X = np.random.RandomState(0).normal(size=(90, 6)) * [6, 5, 4, 3, 2, 1]
    model = fit(X, 2, estimator, max_iter=20)
    assert in_folds(model)
    assert not model.uses_network_
    assert model.score(X) == pytest.approx(PCA(2, svd_solver="full").fit(X).score(X), rel=1e-6)


def test_a_density_is_not_worse_than_that_of_pca(curve):
    X, test = curve[:90], curve[90:]
    model, pca = fit(X, 2, VAETransformer, max_iter=60), PCA(2).fit(X)
    assert in_folds(model)
    assert model.score(test) >= pca.score(test) - 1e-6 * abs(pca.score(test))


def test_histories_are_means_over_the_folds(curve):
    """The epoch is the best one of the mean curve, whose losses are those of the summary."""
    model = fit(curve[:90])
    summary = model.summary()
    curves = [model.pca_loss_, *model.validation_loss_curve_]
    assert len(model.loss_curve_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_iter_ == np.argmin(curves)
    assert summary.loss == pytest.approx(min(curves))
    assert summary.pca_loss == model.pca_loss_
    assert [epoch["epoch"] for epoch in model.net_.history] == [*range(1, model.n_iter_ + 1)]


def test_histories_of_variational_autoencoders_hold_both_terms(curve):
    model = fit(curve[:90], 2, VAETransformer, max_iter=12, kl_warmup=0.0)
    assert in_folds(model)
    for part in ("", "validation_"):
        loss = getattr(model, f"{part}loss_curve_")
        terms = [getattr(model, f"{part}{name}_curve_") for name in ("reconstruction_loss", "divergence")]
        np.testing.assert_allclose(np.sum(terms, axis=0), loss, rtol=1e-3)
        assert len(loss) == model.n_iter_


def test_noise_is_that_of_all_held_out_samples(curve):
    """The fold whose residuals are the noise has the loss of all samples, or nearly so."""
    X = curve[:80] + 0.1 * np.random.RandomState(0).normal(size=curve[:80].shape)
    for seed in range(3):
        model = fit(X, random_state=seed)
        if model.uses_network_:
            unit = X.shape[1] / (X.shape[1] - 1) * model.scale_**2  # the noise has d - k directions
            assert model.noise_variance_ == pytest.approx(model.summary().loss * unit, rel=0.5)


@pytest.mark.parametrize("k", [45, 50])
def test_densities_with_as_many_components_as_samples_are_not_compared(k):
    """PCA of such a fold has no residuals, and hence no density."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 40)) @ rng.normal(size=(40, 100)) + 0.5 * rng.normal(size=(60, 100))
    model = fit(X, k, VAETransformer, max_iter=5)
    assert not in_folds(model)
    assert not model.uses_network_
    np.testing.assert_allclose(model.mean_, X.mean(axis=0), atol=1e-6)


def test_pca_without_residuals_is_kept_without_training():
    rng = np.random.RandomState(0)
    for n in (60, 150):
        model = fit(rng.normal(size=(n, 2)) @ rng.normal(size=(2, 6)), 2)
        assert model.loss_curve_ == []
        assert "leaves nothing unexplained" in model.summary().decision
    model = fit(rng.normal(size=(150, 200)), 140, VAETransformer, max_iter=2)  # more than in training
    assert not model.uses_network_


def test_an_untrained_network_is_not_in_use():
    """If no epoch is better than the first, the model is PCA of all samples."""
    for n, d, k in ((60, 20, 10), (100, 50, 40)):
        X = np.random.RandomState(1).normal(size=(n, d))
        model = fit(X, k, VAETransformer, max_iter=20, learning_rate_init=0.5)
        assert model.uses_network_ == (model.best_iter_ > 0)
        np.testing.assert_allclose(model.mean_, X.mean(axis=0), atol=1e-6)


def test_one_validation_set_decides_where_it_can(curve):
    assert not in_folds(fit(curve, max_iter=60))  # gain
    X = np.random.RandomState(0).normal(size=(1200, 3)) * [3, 2, 1]
    assert not in_folds(fit(X, max_iter=3))  # not small
    assert not in_folds(fit(X[:200], max_iter=3, X_val=X[200:300]))
    assert not in_folds(fit(X[:200], max_iter=3, early_stopping=False))
    assert not in_folds(fit(X[:200], max_iter=3, init="random"))
    assert not in_folds(fit(X[:200], hidden_layer_sizes=()))
    assert not in_folds(fit(np.repeat(np.arange(200.0)[:, None], 3, axis=1), max_iter=3))  # of rank one


def test_models_go_on_from_folds(curve):
    """A warm start and chunks continue a model that folds have chosen."""
    model = fit(curve[:90], warm_start=True)
    pca = PCA(1).fit(curve[:90])
    theirs = np.square(curve - pca.inverse_transform(pca.transform(curve))).sum(1).mean()
    model.set_params(max_iter=5).fit(curve[:90])
    assert not in_folds(model)
    assert "warm start" in model.summary().decision
    assert model.reconstruction_error(curve).mean() < 0.7 * theirs
    model.partial_fit(curve[:90])
    assert model.reconstruction_error(curve).mean() < 0.7 * theirs


def test_noisy_samples_are_paired_with_clean_ones_in_each_fold(curve):
    X = curve[:90] + 0.2 * np.random.RandomState(1).normal(size=curve[:90].shape)
    model = fit(X, X_clean=curve[:90])
    assert in_folds(model)
    assert model.uses_network_
    pca = PCA(1).fit(curve[:90])
    noisy = curve[90:] + 0.2 * np.random.RandomState(2).normal(size=curve[90:].shape)
    ours = np.square(model.inverse_transform(model.transform(noisy)) - curve[90:]).sum(1).mean()
    theirs = np.square(pca.inverse_transform(pca.transform(noisy)) - curve[90:]).sum(1).mean()
    assert ours < 0.8 * theirs


def test_missing_values_are_hidden_in_each_fold(curve):
    X = curve[:90].copy()
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.1] = np.nan
    model = fit(X, 1, missing="mask", max_iter=60)
    assert in_folds(model)
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.impute(X)).all()


def test_wide_samples_are_trained_in_their_row_space(curve):
    wide = curve[:60] @ np.linalg.qr(np.random.RandomState(0).normal(size=(200, 5)))[0].T
    model, narrow = fit(wide), fit(curve[:60])
    assert in_folds(model)
    assert model.uses_network_
    ours, theirs = model.reconstruction_error(wide).mean(), narrow.reconstruction_error(curve[:60]).mean()
    assert ours == pytest.approx(theirs, rel=0.5)


class Recorder(Callback):
    """Counts epochs of the training that users see."""

    n_epochs = 0

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


def test_callbacks_that_observe_change_nothing_and_see_one_training(curve):
    X = curve[:90] + 0.3 * np.random.RandomState(0).normal(size=curve[:90].shape)
    seen = Recorder()
    model, plain = fit(X, 2, max_iter=6, callbacks=[seen]), fit(X, 2, max_iter=6)
    assert in_folds(model)
    assert seen.n_epochs <= 6
    np.testing.assert_array_equal(model.transform(X), plain.transform(X))


def test_callbacks_see_the_first_fold_if_there_is_no_other_training(curve, capfd, tmp_path):
    """Below 100 samples, one validation set is too small for a training of its own."""
    scores = EpochScoring(lambda net, samples, y=None: 1.5, use_caching=False, name="mine")
    files = Checkpoint(dirname=tmp_path, monitor="valid_loss_best")
    model = fit(curve[:90], callbacks=[scores, files], verbose=1, max_iter=20)
    assert in_folds(model)
    assert set(model.net_.history[:, "mine"]) == {1.5}
    assert len(list(tmp_path.iterdir())) > 0
    best = [epoch["epoch"] for epoch in model.net_.history if epoch["valid_loss_best"]]
    assert best[-1] == 1 + int(np.argmin(model.validation_loss_curve_))
    err = capfd.readouterr().err
    assert err.count("valid_loss=") > 0
    assert "20/20" in err


def test_unfinished_trainings_in_folds_warn(curve):
    with pytest.warns(ConvergenceWarning, match="still decreasing steeply"):
        model = fit(curve[:90], max_iter=6, learning_rate_init=0.02)
    assert in_folds(model)
    assert model.uses_network_


def test_schedulers_act_in_each_fold(curve):
    """Without a learning rate, no fold learns anything."""
    frozen = LRScheduler("LambdaLR", lr_lambda=lambda epoch: 0.0)
    model = fit(curve[:90], max_iter=5, callbacks=[frozen])
    assert in_folds(model)
    assert not model.uses_network_


class Interrupt(Callback):
    """Interrupts the nth training in its third epoch, as Ctrl-C does."""

    n_trainings = 0

    def __init__(self, nth):
        self.nth = nth

    def on_train_begin(self, net, **kwargs):
        type(self).n_trainings += 1

    def on_epoch_end(self, net, **kwargs):
        if type(self).n_trainings == self.nth and len(net.history) >= 3:
            interrupted()


def interrupted():
    raise KeyboardInterrupt


@pytest.mark.parametrize("nth", [1, 3, 6])
def test_interrupted_folds_leave_a_model(curve, monkeypatch, nth):
    """Folds that are not finished decide nothing; of 90 samples, the sixth training is that of the model."""
    monkeypatch.setattr(
        "sklearn_ae._fitting.retraining.of_training", lambda callbacks: [c for c in callbacks or ()]
    )
    monkeypatch.setattr(Interrupt, "n_trainings", 0)
    model = AutoencoderTransformer(1, hidden_layer_sizes=(32,), random_state=0, callbacks=[Interrupt(nth)])
    with pytest.raises(KeyboardInterrupt, match="holds the best model so far"):
        model.fit(curve[:90])
    assert model.uses_network_ == (nth == 6)
    assert "interrupted" in model.summary().decision
    assert "too few" not in model.summary().decision
    assert np.isfinite(model.score_samples(curve)).all()


def test_the_default_detector_has_folds_of_its_own(curve):
    detector = AEOutlierDetector(outlier_score="reconstruction", robust=False, random_state=0).fit(curve[:90])
    assert not any(in_folds(autoencoder) for autoencoder in detector.estimators_)


def test_folds_need_more_evidence():
    """A few samples can outweigh all others; the second of two tests must be stricter."""
    rng = np.random.RandomState(0)
    pca_losses = 1 + rng.uniform(size=200)
    losses = pca_losses - 0.2
    assert shows_a_gain(pca_losses, losses + 0.1 * rng.normal(size=200), in_folds=True)
    few = np.where(np.arange(200) < 4, 5.0, 0.02)  # four samples hold most of the gain
    assert shows_a_gain(pca_losses + few, pca_losses)
    assert not shows_a_gain(pca_losses + few, pca_losses, in_folds=True)
