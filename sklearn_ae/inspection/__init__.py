"""Displays of fitted models: ``from_estimator`` computes and draws, ``plot`` draws again."""

from sklearn_ae.inspection._component_contributions import ComponentContributionsDisplay
from sklearn_ae.inspection._contributions import component_contributions
from sklearn_ae.inspection._explained_variance import ExplainedVarianceDisplay
from sklearn_ae.inspection._interpolation import InterpolationDisplay
from sklearn_ae.inspection._latent_grid import LatentGridDisplay
from sklearn_ae.inspection._latent_space import LatentSpaceDisplay
from sklearn_ae.inspection._loss_curve import LossCurveDisplay
from sklearn_ae.inspection._outlier_score import OutlierScoreDisplay
from sklearn_ae.inspection._reconstruction import ReconstructionDisplay
from sklearn_ae.inspection._traversal import TraversalDisplay

__all__ = [
    "ComponentContributionsDisplay",
    "ExplainedVarianceDisplay",
    "InterpolationDisplay",
    "LatentGridDisplay",
    "LatentSpaceDisplay",
    "LossCurveDisplay",
    "OutlierScoreDisplay",
    "ReconstructionDisplay",
    "TraversalDisplay",
    "component_contributions",
]
