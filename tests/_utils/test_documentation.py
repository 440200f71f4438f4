"""Links from HTML representations to the documentation; test_site.py checks that the pages exist."""

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer
from sklearn_ae._utils.documentation import SITE
from sklearn_ae.bottlenecks import Ordered
from sklearn_ae.losses import CallableLoss


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (AutoencoderTransformer(), "AutoencoderTransformer"),
        (AEOutlierDetector(), "AEOutlierDetector"),
        (Ordered(), "bottlenecks.Ordered"),
        (CallableLoss(abs), "losses.CallableLoss"),
    ],
)
def test_html_representation_links_to_the_page_of_the_class(model, name):
    link = f'href="{SITE}generated/sklearn_ae.{name}.html"'
    assert link in model._repr_html_()
    if hasattr(model, "fit"):
        assert link in make_pipeline(StandardScaler(), model)._repr_html_()


def test_classes_of_the_user_have_no_link():
    class Mine(Ordered):
        """Bottleneck of a user."""

    assert SITE not in Mine()._repr_html_()
