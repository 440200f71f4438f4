"""A constructor parameter called ``score``, which scikit-learn must not take for the method of that name.

scikit-learn calls what it finds at ``estimator.score``. A detector has no such
method, but its users expect to choose a score by this name. So the value lives in
the instance's dictionary, where ``get_params`` finds it, and the attribute is
missing to all who read it.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator


class ScoreParameter(BaseEstimator):
    """Base of estimators with a constructor parameter ``score``."""

    @property
    def score(self) -> Any:
        """The parameter, which can be set but not read as an attribute."""
        raise AttributeError(
            f"score is a parameter of {type(self).__name__}, not a method: read it by "
            "get_params()['score'], and rows by score_samples(X). To search over parameters, give "
            "scoring='roc_auc' and labels (1 for inliers, -1 for outliers)."
        )

    @score.setter
    def score(self, value: Any) -> None:
        self.__dict__["score"] = value

    def get_params(self, deep=True):
        """Get parameters for this estimator.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include those of parameters that are estimators or options.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        params = {name: self.__dict__[name] for name in self._get_param_names()}
        for name, value in list(params.items()) if deep else ():
            if hasattr(value, "get_params") and not isinstance(value, type):
                params |= {f"{name}__{key}": inner for key, inner in value.get_params().items()}
        return params
