"""Pickles that know which version wrote them."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from sklearn.exceptions import InconsistentVersionWarning

from tilewise._version import __version__
from tilewise.engine import on_host

if TYPE_CHECKING:
    from typing import Self


class InconsistentTilewiseVersionWarning(InconsistentVersionWarning):
    """An estimator was unpickled by another version of tilewise than the one that wrote it."""

    def __str__(self):
        return (
            f"{self.estimator_name} was pickled by tilewise {self.original_sklearn_version} and "
            f"is being loaded by tilewise {self.current_sklearn_version}; its results may differ "
            "or it may fail. Fit it again with this version to be sure."
        )


class VersionedPickles:
    """Record the version of tilewise in the state of an estimator; compare it on loading.

    Copies made by `copy` are no pickles: arrays on a device stay there.
    """

    def __getstate__(self) -> dict[str, Any]:
        # Whoever reads a pickle may have no device: arrays come as NumPy's.
        state = {name: on_host(value) for name, value in super().__getstate__().items()}
        return {**state, "_tilewise_version": __version__}

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = object.__new__(type(self))
        vars(twin).update({name: deepcopy(value, memo) for name, value in vars(self).items()})
        return twin

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
