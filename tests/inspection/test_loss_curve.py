"""Loss curves, compared with the attributes of the model and with PCA."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from inspection.figures import drawn, legend_of
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from torch.nn.functional import huber_loss

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.inspection import LossCurveDisplay
from sklearn_ae.penalties import L1

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (8,), "random_state": 0}


def by_label(ax):
    return {line.get_label().split(" (")[0].split(",")[0]: line for line in ax.get_lines()}


# -- curves -------------------------------------------------------------------------------


def test_curves_are_those_of_the_model(trained):
    display = drawn(LossCurveDisplay.from_estimator(trained))
    lines = by_label(display.ax_)
    np.testing.assert_array_equal(lines["Training"].get_ydata(), trained.loss_curve_)
    np.testing.assert_array_equal(lines["Validation"].get_ydata(), trained.validation_loss_curve_)
    np.testing.assert_array_equal(lines["Validation"].get_xdata(), np.arange(1, 16))
    best = lines["Best epoch"].get_xydata()[0]
    np.testing.assert_array_equal(best, [trained.best_iter_, min(trained.validation_loss_curve_)])
    assert display.ax_.get_ylabel() == "Fraction of variance unexplained"
    assert display.ax_.get_xlabel() == "Epoch"
    assert legend_of(display.ax_) == [line.get_label() for line in display.lines_]


def test_only_training_is_drawn_without_validation_samples(curve):
    model = AutoencoderTransformer(2, max_iter=2, early_stopping=False, **SMALL).fit(curve)
    assert set(by_label(LossCurveDisplay.from_estimator(model).ax_)) == {"Training"}


def test_title_mentions_the_fallback_to_pca(curve):
    model = AutoencoderTransformer(2, max_iter=2, learning_rate_init=1e-9, **SMALL).fit(curve)
    assert not model.uses_network_
    display = drawn(LossCurveDisplay.from_estimator(model))
    assert "fallback to PCA" in display.ax_.get_title()
    assert "Best epoch" not in by_label(display.ax_)


def test_wide_ranges_have_a_logarithmic_axis():
    assert drawn(LossCurveDisplay([100.0, 10.0, 1.0]).plot()).ax_.get_yscale() == "log"
    assert LossCurveDisplay([3.0, 2.0, 1.0]).plot().ax_.get_yscale() == "linear"
    assert LossCurveDisplay([3.0, 0.1, -1.0]).plot().ax_.get_yscale() == "linear"


# -- objectives ---------------------------------------------------------------------------

LABELS = {
    "init": "Fraction of variance unexplained",
    "penalty": "Objective (per sample and feature)",
    "loss": "Objective (per sample and feature)",
}


@pytest.mark.parametrize("options", [{}, {"penalty": "l1"}, {"loss": "huber"}, {"init": "random"}], ids=str)
def test_line_of_pca_is_its_objective_on_the_validation_samples(curve, options):
    X = 10 * curve[:400] + 5
    X_val = 10 * curve[400:] + 5
    model = AutoencoderTransformer(2, max_iter=2, **SMALL, **options).fit(X, X_val=X_val)
    display = drawn(LossCurveDisplay.from_estimator(model))
    option = next(iter(options), "init")
    assert display.ax_.get_ylabel() == LABELS[option]
    lines = by_label(display.ax_)
    assert ("PCA" in lines) == ("init" not in options)
    if "PCA" in lines:
        assert lines["PCA"].get_ydata()[0] == pytest.approx(
            pca_objective(X, X_val, model.scale_, option), rel=1e-4
        )


def pca_objective(X, X_val, scale, option):
    """Return the objective of PCA in working units."""
    pca = PCA(2).fit(X)
    codes = pca.transform(X_val) / scale
    error = torch.from_numpy((X_val - pca.inverse_transform(pca.transform(X_val))) / scale)
    if option == "loss":
        return float(huber_loss(error, torch.zeros_like(error)))
    penalty = L1().weight * np.abs(codes).sum(1).mean() / X.shape[1] if option == "penalty" else 0
    return float(error.square().mean()) + penalty


def test_curves_of_a_vae_are_in_nats_and_those_of_pca_its_likelihood(curve):
    """The validation loss uses a fixed number of draws of the code; the score of PCA is the integral."""
    X_val = curve[400:]
    model = make_pipeline(VAETransformer(2, max_iter=2, **SMALL))
    model.fit(curve[:400], vaetransformer__X_val=X_val)
    display = LossCurveDisplay.from_estimator(model)
    assert display.ax_.get_ylabel() == "Negative ELBO (nats per sample)"
    line = by_label(display.ax_)["PCA"].get_ydata()[0]
    assert line == pytest.approx(-PCA(2).fit(curve[:400]).score(X_val), abs=0.05)


def test_terms_of_a_vae_have_panels_of_their_own(vae):
    display = drawn(LossCurveDisplay.from_estimator(vae))
    loss, reconstruction, divergence = display.axes_
    assert loss is display.ax_
    assert reconstruction.get_ylabel() == "Reconstruction loss\n(nats per sample)"
    assert divergence.get_ylabel() == "KL divergence\n(nats per sample)"
    for ax, term in ((reconstruction, "reconstruction_loss_curve_"), (divergence, "divergence_curve_")):
        training, validation = ax.get_lines()[:2]
        np.testing.assert_array_equal(training.get_ydata(), getattr(vae, term))
        np.testing.assert_array_equal(validation.get_ydata(), getattr(vae, f"validation_{term}"))
    total = sum(ax.get_lines()[1].get_ydata() for ax in (reconstruction, divergence))
    np.testing.assert_allclose(total, vae.validation_loss_curve_, rtol=1e-5)


def test_terms_are_drawn_into_given_axes_on_request(vae):
    _, (left, right) = plt.subplots(1, 2)
    assert len(LossCurveDisplay.from_estimator(vae, ax=left).axes_) == 1
    assert len(LossCurveDisplay.from_estimator(vae, ax=right, show_terms=True).axes_) == 3
    assert len(LossCurveDisplay.from_estimator(vae, show_terms=False).axes_) == 1


def test_the_weight_of_the_divergence_is_shown(curve):
    model = VAETransformer(2, max_iter=2, beta=4.0, early_stopping=False, **SMALL).fit(curve)
    display = drawn(LossCurveDisplay.from_estimator(model))
    assert display.axes_[2].get_ylabel() == "KL divergence, weight 4\n(nats per sample)"
    assert len(display.axes_[2].get_lines()) == 1  # without validation samples


# -- estimators ---------------------------------------------------------------------------


def test_accepts_other_models_with_a_loss_curve(curve):
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(curve, curve[:, 0])
    display = LossCurveDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), model.loss_curve_)
    assert display.ax_.get_ylabel() == "Loss"


def test_accepts_a_search(curve):
    model = AutoencoderTransformer(2, max_iter=1, early_stopping=False, **SMALL)
    search = GridSearchCV(
        model, {"alpha": [0.0]}, cv=[(np.arange(50), np.arange(50, 60))], scoring=lambda *args: 0
    )
    display = LossCurveDisplay.from_estimator(search.fit(curve[:60]))
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), search.best_estimator_.loss_curve_)


def test_errors_name_the_reason_for_a_missing_curve(curve):
    with pytest.raises(ValueError, match="nothing was trained and the model is PCA"):
        LossCurveDisplay.from_estimator(AutoencoderTransformer(2, hidden_layer_sizes=()).fit(curve))
    with pytest.raises(TypeError, match=r"estimator must have a loss_curve_.*got PCA"):
        LossCurveDisplay.from_estimator(make_pipeline(PCA(2)).fit(curve))
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(AutoencoderTransformer())


def test_chunks_after_a_fit_have_no_validation_loss(curve):
    model = AutoencoderTransformer(1, hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(curve)
    display = LossCurveDisplay.from_estimator(model.partial_fit(curve[:50]))
    assert len(display.loss_curve) == len(display.validation_curve) + 1
