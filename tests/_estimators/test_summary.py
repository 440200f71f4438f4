"""Summaries of fits: in words, as an object and in notebooks, for every reason."""

import copy
import pickle
import re

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import NotFittedError

from sklearn_ae import (
    AEImputer,
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
)
from sklearn_ae.likelihoods import Gaussian

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")
NOISE = np.random.RandomState(0).normal(size=(300, 4)) * [4, 3, 2, 1]


def fit(X, k=1, estimator=AutoencoderTransformer, **params):
    X_val = params.pop("X_val", None)
    params = {"hidden_layer_sizes": (16,), "max_iter": 15, "random_state": 0, **params}
    return estimator(k, **params).fit(X, X_val=X_val)


def test_a_network_in_use_is_compared_with_pca(curve):
    model = fit(curve)
    summary = model.summary()
    assert summary.uses_network
    assert summary.n_held_out == 60
    assert (summary.n_samples, summary.n_features, summary.n_components) == (600, 5, 1)
    assert (summary.n_iter, summary.best_iter) == (model.n_iter_, model.best_iter_)
    assert summary.pca_loss == model.pca_loss_
    assert summary.loss == pytest.approx(min(model.validation_loss_curve_))
    percent = 100 * (1 - summary.loss / summary.pca_loss)
    assert summary.decision == f"network in use: {percent:.0f} % less error than PCA on 60 validation samples"
    assert summary.seconds > 0
    assert summary.n_active_units is None
    assert summary.loss_unit == "share of the variance"
    assert "share of the variance" in str(summary)


def test_a_variational_autoencoder_is_compared_in_nats(curve):
    model = fit(curve, 2, VAETransformer, max_iter=40)
    summary = model.summary()
    gain = summary.pca_loss - summary.loss
    assert summary.decision == (
        f"network in use: {gain:.2f} nats more per sample than PCA on 60 validation samples"
    )
    assert summary.n_active_units == model.n_active_units_
    assert summary.loss_unit == "nats per sample"
    assert fit(curve, loss="huber").summary().loss_unit == "mean over scaled features"
    assert f"{model.n_active_units_} of 2" in str(summary)


def test_a_model_that_keeps_pca_says_why():
    summary = fit(NOISE, 2, max_iter=4).summary()
    assert not summary.uses_network
    assert summary.decision.startswith(
        f"kept PCA: network {summary.loss:.3g}, PCA {summary.pca_loss:.3g} on "
    )
    assert summary.decision.endswith(("(gain below the threshold)", "(no gain)"))
    worse = fit(NOISE, 2, max_iter=3, learning_rate_init=2.0).summary()
    assert worse.decision.endswith("(no gain)")
    assert worse.loss == worse.pca_loss  # the best epoch is the untrained model


@pytest.mark.parametrize(
    ("params", "phrase"),
    [
        ({"early_stopping": False}, "not compared with PCA, because early_stopping=False"),
        ({"init": "random"}, "not compared with PCA, because init='random'"),
        ({"bottleneck": "relu"}, "not compared with PCA, because the untrained model is not PCA"),
        ({"hidden_layer_sizes": ()}, "linear model: equal to PCA"),
        ({"k": 0}, "no components"),
        (
            {"X": NOISE[:20]},
            "kept PCA: 20 samples are too few to compare a network with it; pass",
        ),
        ({"X_val": NOISE[:5]}, "kept PCA: 5 validation samples are too few"),
        ({"X": NOISE[:, [0, 0, 0]]}, "kept PCA: it leaves nothing unexplained"),
        ({"loss": "absolute_error"}, "less loss than PCA|kept PCA"),
        (
            {
                "estimator": VAETransformer,
                "likelihood": Gaussian(noise="per_column"),
                "hidden_layer_sizes": (),
            },
            "linear model: at its optimum",
        ),
    ],
    ids=str,
)
def test_every_reason_is_named(params, phrase):
    model = fit(**{"X": NOISE, "max_iter": 2, **params})
    summary = model.summary()
    assert re.search(phrase, summary.decision)
    assert summary.uses_network == model.uses_network_
    assert summary.decision in str(summary)


def test_a_remedy_that_is_named_works():
    few = NOISE[:20]
    assert "early_stopping=False" in fit(few).summary().decision
    assert fit(few, early_stopping=False).uses_network_
    assert fit(few, X_val=NOISE[20:]).summary().n_held_out == 280


def test_truncated_models_have_no_losses_of_their_own(curve):
    full = fit(curve, 3, bottleneck="ordered")
    summary = full.truncate(1).summary()
    assert "truncated after the comparison" in summary.decision
    assert summary.loss is summary.pca_loss is None
    assert "5 features, 1 component" in str(summary)
    assert full.truncate(3).summary() == full.summary()


def test_remedies_are_those_of_the_class():
    few = NOISE[:40]
    assert "X_val" in fit(few).summary().decision
    cv = AutoencoderTransformerCV([1, 2], cv=2, hidden_layer_sizes=(8,), max_iter=2).fit(few)
    imputer = AEImputer().fit(few)
    for model in (cv, imputer):
        assert "X_val" not in model.summary().decision
        assert "too few" in model.summary().decision
    other = AEImputer(AutoencoderTransformer(1, early_stopping=False, max_iter=2)).fit(few)
    assert other.summary().uses_network


def test_chunks_are_not_compared(curve):
    model = AutoencoderTransformer(1, hidden_layer_sizes=(8,), random_state=0)
    summary = model.partial_fit(curve[:300]).partial_fit(curve[300:]).summary()
    assert "partial_fit" in summary.decision
    assert summary.n_samples == 600
    assert "duration" not in str(summary)


def test_verbose_prints_the_decision_after_the_bar(curve, capfd):
    model = fit(curve, verbose=1)
    assert capfd.readouterr().out == f"AutoencoderTransformer: {model.summary().decision}\n"


def test_verbose_says_so_without_a_training(capfd):
    fit(NOISE[:20], verbose=1)
    assert "too few" in capfd.readouterr().out


def test_losses_of_users_may_be_negative(curve):
    def shifted(x_hat, x):
        return (x_hat - x) ** 2 - 100

    summary = fit(curve, loss=shifted).summary()
    assert "%" not in summary.decision
    assert "less loss than PCA" in summary.decision or summary.decision.startswith("kept")


# -- notebooks, copies and files --------------------------------------------------------------


def test_notebooks_show_the_summary_below_the_diagram(curve):
    model = fit(curve)
    page = model._repr_html_()
    assert model.summary()._repr_html_() in page
    assert (
        page == model._repr_mimebundle_()["text/html"]
        or model.summary().decision.replace("'", "&#x27;") in page
    )
    unfitted = AutoencoderTransformer(1)
    assert "Summary of" not in unfitted._repr_html_()
    with config_context(display="text"):
        assert not hasattr(model, "_repr_html_")
        assert "text/html" not in model._repr_mimebundle_()


def test_text_in_html_is_escaped(curve):
    page = fit(curve, init="random").summary()._repr_html_()
    assert "init=&#x27;random&#x27;" in page


def test_copies_and_files_keep_the_summary(curve):
    model = fit(curve)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert other.summary() == model.summary()


def test_an_unfitted_estimator_has_no_summary():
    with pytest.raises(NotFittedError):
        AutoencoderTransformer(1).summary()


def test_estimators_that_hold_autoencoders_have_a_summary(curve):
    with_gaps = curve.copy()
    with_gaps[::7, 0] = np.nan
    base = AutoencoderTransformer(1, hidden_layer_sizes=(8,), max_iter=3)
    cv = AutoencoderTransformerCV([1, 2], cv=2, hidden_layer_sizes=(8,), max_iter=3, random_state=0).fit(
        curve
    )
    detector = AEOutlierDetector(base, n_estimators=2, random_state=0).fit(curve)
    imputer = AEImputer(base, random_state=0).fit(with_gaps)
    assert cv.summary().estimator == "AutoencoderTransformerCV"
    assert cv.summary().n_components == cv.n_components_
    for holder in (detector, imputer):
        assert holder.summary().loss == holder.autoencoder_.summary().loss
        assert type(holder).__name__ in str(holder.summary())
        assert holder.summary().decision.split(":")[0] in holder._repr_html_()
        with pytest.raises(NotFittedError):
            type(holder)().summary()
