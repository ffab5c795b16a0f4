"""Pickles that know which version wrote them."""

import warnings
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from tilewise._version import __version__


class InconsistentTilewiseVersionWarning(InconsistentVersionWarning):
    """An estimator was unpickled by another version of tilewise than the one that wrote it."""

    def __str__(self):
        return (
            f"{self.estimator_name} was pickled by tilewise {self.original_sklearn_version} and "
            f"is being loaded by tilewise {self.current_sklearn_version}; its results may differ "
            "or it may fail. Fit it again with this version to be sure."
        )


class VersionedPickles:
    """Record the version of tilewise in the state of an estimator; compare it on loading."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tilewise_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        written_by = state.pop("_tilewise_version", "of unknown version")
        if written_by != __version__:
            warnings.warn(
                InconsistentTilewiseVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=__version__,
                    original_sklearn_version=written_by,
                ),
                stacklevel=2,
            )
        super().__setstate__(state)
