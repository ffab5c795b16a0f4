"""A device's row in the table of places to run; it imports torch when it has something to do."""

from __future__ import annotations

from typing import Any

from tilewise import engine

from ._arrays import host_copy, kind_of

__all__ = ["Entry", "StreamEntry"]

_NEEDED = ("torch", "triton")


class Entry:
    """Takes arrays on a device, and hands everything else to `Device`; see `Backend`."""

    name = "cuda"
    few_rows = None

    def __init__(self):
        self._device = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._loaded(), name)

    def _loaded(self):
        if self._device is None:
            try:
                self._device = self._made()
            except ModuleNotFoundError as error:
                if str(error.name).partition(".")[0] not in _NEEDED:
                    raise
                raise ImportError(
                    f"arrays on a device need torch and triton, and {error.name} is not "
                    'installed; run: pip install "tilewise[cuda]"'
                ) from None
        return self._device

    @staticmethod
    def _made():
        from ._backend import Device

        return Device()

    def open_rows(self, X, request):
        """Take arrays on a device, and all arrays if the user wants it."""
        there = kind_of(X) is not None
        if there and request.device == "cpu":
            return engine.Cpu().open_rows(host_copy(X), request)
        if there or request.device == "cuda":
            return self._loaded().open_rows(X, request)
        return None

    def open_pair(self, X, Y, device="auto"):
        """Take two arrays on a device, and all arrays if the user wants it."""
        if device != "cuda" and kind_of(X) is None and kind_of(Y) is None:
            return None
        return self._loaded().open_pair(X, Y, device)

    def computing(self, X, device):
        """Make the device that the rows lie on the current one; turn its errors into sentences."""
        if device == "cuda" or (device != "cpu" and kind_of(X) is not None):
            return self._loaded().computing(X, device)
        return None

    def on_host(self, X):
        """A copy of an array on a device."""
        return None if kind_of(X) is None else host_copy(X)


class StreamEntry(engine.NoPairs, Entry):
    """Has the rows that `Device` reads in parts; nobody's data are offered to it."""

    name = "cuda, streamed"

    @staticmethod
    def _made():
        from ._streams import DeviceStreams

        return DeviceStreams()

    def open_rows(self, X, request):
        """They are `Entry`'s to open, as pairs are."""
        return None
