"""Callbacks that only some fits need: a progress bar, and a fixed number of epochs."""

import re
from types import SimpleNamespace

import pytest

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._training.callbacks import StopAfter
from sklearn_ae._training.optimization import StopTraining

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def test_training_stops_after_a_number_of_epochs():
    callback = StopAfter(3)
    for n in (1, 2):
        callback.on_epoch_end(SimpleNamespace(history=[None] * n))
    with pytest.raises(StopTraining):
        callback.on_epoch_end(SimpleNamespace(history=[None] * 3))


def quick(**params):
    return AutoencoderTransformer(1, hidden_layer_sizes=(8,), max_iter=5, random_state=0, **params)


def test_verbose_shows_a_progress_bar_with_losses_and_remaining_time(curve, capfd):
    quick(verbose=1).fit(curve)
    out, err = capfd.readouterr()
    assert re.fullmatch(r"AutoencoderTransformer: network in use: \d+ % less error than PCA on .*\n", out)
    assert "5/5" in err
    assert "train_loss=" in err
    assert "valid_loss=" in err
    assert "pca_loss=" in err
    assert "epoch/s" in err or "s/epoch" in err
    assert "<" in err  # elapsed < remaining


def test_the_bar_shows_the_training_loss_without_validation(curve, capfd):
    quick(verbose=1, early_stopping=False).fit(curve)
    err = capfd.readouterr().err
    assert "train_loss=" in err
    assert "valid_loss=" not in err
    assert "pca_loss=" not in err


def test_silent_by_default(curve, capfd):
    quick().fit(curve).score(curve[:10])
    assert capfd.readouterr() == ("", "")
