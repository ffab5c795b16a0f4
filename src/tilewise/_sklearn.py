"""What tilewise takes from scikit-learn and type checkers must see through.

scikit-learn has no types. mypy lets everything that such a base or decorator touches pass for
anything: a misspelled attribute, a model where labels were meant. For mypy the bases are empty
here, and what users call of them is declared where it is inherited. Other checkers read
scikit-learn's sources and see its classes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = [
    "BaseEstimator", "ClassNamePrefixFeaturesOutMixin", "ClusterMixin", "TransformerMixin",
    "_fit_context", "validate_params",
]  # fmt: skip

MYPY = False  # mypy takes this name for true, whatever it is
if MYPY:

    class BaseEstimator: ...

    class ClassNamePrefixFeaturesOutMixin: ...

    class ClusterMixin: ...

    class TransformerMixin: ...

else:
    from sklearn.base import (
        BaseEstimator,
        ClassNamePrefixFeaturesOutMixin,
        ClusterMixin,
        TransformerMixin,
    )

if TYPE_CHECKING:
    _Function = TypeVar("_Function", bound=Callable[..., Any])

    def _fit_context(
        *, prefer_skip_nested_validation: bool
    ) -> Callable[[_Function], _Function]: ...

    def validate_params(
        parameter_constraints: dict[str, list[Any]], *, prefer_skip_nested_validation: bool
    ) -> Callable[[_Function], _Function]: ...

else:
    from sklearn.base import _fit_context
    from sklearn.utils._param_validation import validate_params
