"""What a device is, each fact with the place it came from.

torch tells most, Triton's driver some that older torch does not; the rest follows from the compute
capability. Where there is no GPU, kernels run in Triton's interpreter on the CPU, and the facts are
those of the interpreter. Only what asks a device imports torch: records can be read anywhere.
"""

from __future__ import annotations

import functools
import math
import os
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from tilewise._sizes import KIB, MOST_BYTES, fact_text
from tilewise.plan import Fact, machine
from tilewise.plan._facts import size_override

if TYPE_CHECKING:
    import torch

__all__ = [
    "LEAST_CAPABILITY", "VARIABLE", "DeviceFacts", "device_facts", "device_text", "host_bandwidth",
    "overridden", "overridden_bytes",
]  # fmt: skip

#: The oldest devices for which Triton makes code ("Supported Hardware" in its README).
LEAST_CAPABILITY = (8, 0)

# Results of 64-bit additions or products for each of 32-bit ones, by compute capability: the table
# "Throughput of Native Arithmetic Instructions" of NVIDIA's CUDA C++ Programming Guide.
_FLOAT64 = {
    (6, 0): 1 / 2, (6, 1): 1 / 32, (7, 0): 1 / 2, (7, 5): 1 / 32, (8, 0): 1 / 2, (8, 6): 1 / 64,
    (8, 9): 1 / 64, (9, 0): 1 / 2, (10, 0): 1 / 2, (10, 3): 1 / 64, (12, 0): 1 / 64,
}  # fmt: skip
_LEAST_FLOAT64 = min(_FLOAT64.values())
# What every device of the least capability and above has for one block, and for one multiprocessor.
_LEAST_SHARED = 99 * KIB

_INTERPRETER = "Triton's interpreter"

#: Overrides the free memory of a device.
VARIABLE = "TILEWISE_DEVICE_BYTES"
# What records of earlier versions lack.
_LATER = {"host_bandwidth": {"value": None, "source": "not told"}}
# Where Linux tells the link of a device, and what of each byte on a link of this speed is data: 128
# of 130 bits from 8 GT/s on, before that 8 of 10 (PCI Express Base Specification 3.0, section 4.2).
_LINKS = "/sys/bus/pci/devices"
_FAST_LINK = 8.0


@dataclass(frozen=True, repr=False)
class DeviceFacts:
    """Facts about a device, as `device_facts` finds them.

    Every attribute is a `Fact` with a ``value`` and a ``source``. Sizes are in bytes.

    Attributes
    ----------
    name : Fact of str
        What the driver calls the device.
    capability : Fact of str or None
        Compute capability, such as "9.0"; None where the device has none.
    multiprocessors : Fact of int
        Groups of cores that run blocks of their own.
    shared_bytes : Fact of int
        Shared memory that one block may have.
    multiprocessor_shared_bytes : Fact of int
        Shared memory that the blocks of one multiprocessor divide.
    l2_bytes : Fact of int
        The cache that all multiprocessors share; 0 where nobody tells.
    memory_bytes : Fact of int
        Memory of the device.
    free_bytes : Fact of int
        What is free of it, with what torch holds and does not use.
    bandwidth : Fact of float or None
        Bytes that memory can deliver in a second; None where nobody tells.
    host_bandwidth : Fact of float or None
        Bytes that can come from the memory of the host in a second; None where nobody tells.
    float64_ratio : Fact of float
        Speed of float64 arithmetic as a share of float32's.
    interpreted : Fact of bool
        Whether kernels run in Triton's interpreter, on the CPU.
    """

    name: Fact
    capability: Fact
    multiprocessors: Fact
    shared_bytes: Fact
    multiprocessor_shared_bytes: Fact
    l2_bytes: Fact
    memory_bytes: Fact
    free_bytes: Fact
    bandwidth: Fact
    host_bandwidth: Fact
    float64_ratio: Fact
    interpreted: Fact

    def trouble(self) -> str | None:
        """Why kernels cannot run on the device, as a sentence; None if they can."""
        version = self.capability.value
        if version is None or tuple(map(int, version.split("."))) >= LEAST_CAPABILITY:
            return None
        least = ".".join(map(str, LEAST_CAPABILITY))
        return (
            f"{self.name.value} has compute capability {version}. tilewise needs {least} or newer "
            "(Ampere, from 2020): pass device='cpu', or data in the memory of the host."
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The facts as JSON-safe values."""
        return {f.name: getattr(self, f.name).to_dict() for f in fields(self)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Mapping[str, Any]]) -> DeviceFacts:
        """Facts from what `to_dict` returned.

        Raises
        ------
        ValueError
            If a fact is missing, or has no source or no value of its type.
        """
        found = {}
        for f in fields(cls):
            own = facts.get(f.name, _LATER.get(f.name))
            if not isinstance(own, Mapping) or not isinstance(own.get("source"), str):
                raise ValueError(f"these are no facts of a device: {f.name} is missing")
            value = own.get("value")
            if not _is_valid(f.name, value):
                raise ValueError(f"these are no facts of a device: {f.name} is {value!r:.40}")
            found[f.name] = Fact(value, own["source"])
        return cls(**found)

    def __repr__(self) -> str:
        width = max(len(f.name) for f in fields(self))
        lines = ["Device"]
        for f in fields(self):
            fact = getattr(self, f.name)
            lines.append(f"  {f.name:<{width}}  {device_text(f.name, fact.value)}  ({fact.source})")
        return "\n".join(lines)


def _is_valid(name: str, value: Any) -> bool:
    """Whether a recorded fact has a value that plans can count on."""
    if name == "name":
        return isinstance(value, str)
    if name == "capability":
        return value is None or bool(re.fullmatch(r"\d{1,3}\.\d{1,3}", str(value)))
    if name == "interpreted":
        return isinstance(value, bool)
    if name in ("bandwidth", "host_bandwidth") and value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name in ("bandwidth", "host_bandwidth", "float64_ratio"):
        return 0 < value < math.inf
    least = 1 if name in ("multiprocessors", "shared_bytes") else 0
    return isinstance(value, int) and least <= value <= MOST_BYTES


def device_text(name: str, value: Any) -> str:
    """Write the value of a fact about a device as people read it."""
    if name == "bandwidth" and value is not None:
        return f"{value / 1e12:.3g} TB/s"
    if name == "host_bandwidth" and value is not None:
        return f"{value / 1e9:.3g} GB/s"
    if name == "float64_ratio" and value < 1:
        return f"1/{1 / value:g}"
    return fact_text(name, value)


def device_facts(device: torch.device | str | None = None) -> DeviceFacts:
    """Facts about a device.

    Parameters
    ----------
    device : torch.device or str, optional
        By default the current GPU, or where there is none the interpreter.

    Returns
    -------
    DeviceFacts
    """
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type == "cpu":
        return overridden(_interpreter())
    index = torch.cuda.current_device() if device.index is None else device.index
    unused = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
    free = Fact(torch.cuda.mem_get_info(index)[0] + unused, "torch.cuda.mem_get_info")
    return overridden(replace(_fixed(index), free_bytes=free))


def overridden(facts: DeviceFacts) -> DeviceFacts:
    """The facts with the free memory that the environment says, if it says anything."""
    return replace(facts, free_bytes=overridden_bytes() or facts.free_bytes)


def overridden_bytes() -> Fact | None:
    """What the environment says of the free memory of a device, if it says anything."""
    return size_override(os.environ, VARIABLE, 1, MOST_BYTES)


def _interpreter() -> DeviceFacts:
    memory = machine().memory_bytes
    return DeviceFacts(
        name=Fact(_INTERPRETER, "no GPU"), capability=Fact(None, _INTERPRETER),
        # One program after another: more of them cost more.
        multiprocessors=Fact(1, f"{_INTERPRETER} runs one program after another"),
        # Nothing is held in shared memory: as much as the largest devices have.
        shared_bytes=Fact(227 * KIB, "the largest known devices"),
        multiprocessor_shared_bytes=Fact(228 * KIB, "the largest known devices"),
        l2_bytes=Fact(0, _INTERPRETER), memory_bytes=memory, free_bytes=memory,
        bandwidth=Fact(None, "not told"), host_bandwidth=Fact(None, "not told"),
        float64_ratio=Fact(1.0, "NumPy on a CPU"),
        interpreted=Fact(True, "no GPU"),
    )  # fmt: skip


@functools.lru_cache
def _fixed(index: int) -> DeviceFacts:
    """The facts that do not change."""
    import torch

    told = Told(torch.cuda.get_device_properties(index), _driver(index))
    capability = None
    if not getattr(torch.version, "hip", None):
        capability = (told.properties.major, told.properties.minor)
    return facts_of(told, capability)


def _driver(index: int) -> dict[str, int]:
    """What Triton's driver knows of a device; nothing where it cannot be asked."""
    try:
        from triton.runtime import driver

        return dict(driver.active.utils.get_device_properties(index))
    except Exception:  # without a driver, or in a Triton that has it elsewhere
        return {}


@dataclass(frozen=True)
class Told:
    """What torch says of a device, and what Triton's driver does."""

    properties: Any
    driver: Mapping[str, int]

    def find(self, name: str, in_driver: str | None = None, default: Any = None) -> Fact:
        """A fact from the first of the two that knows it."""
        value = getattr(self.properties, name, None)
        if value:
            return Fact(value, f"torch's {name}")
        value = self.driver.get(in_driver) if in_driver else None
        if value:
            return Fact(value, f"Triton's {in_driver}")
        return Fact(default, "not told" if default is None else "assumed")


def facts_of(told: Told, capability: tuple[int, int] | None) -> DeviceFacts:
    """The facts that are in what torch and Triton's driver told."""
    shared = told.find("shared_memory_per_block_optin", "max_shared_mem", _LEAST_SHARED)
    ratio = Fact(_LEAST_FLOAT64, "assumed: the least of known devices")
    version = None
    if capability is not None:
        version = ".".join(map(str, capability))
        known = _FLOAT64.get(capability)
        if known is not None:
            ratio = Fact(known, f"compute capability {version}")
    memory = told.find("total_memory", default=0)
    per_multiprocessor = told.find("shared_memory_per_multiprocessor", default=shared.value + KIB)
    return DeviceFacts(
        name=told.find("name", default="unknown"),
        capability=Fact(version, "torch's major and minor" if capability else "ROCm"),
        multiprocessors=told.find("multi_processor_count", "multiprocessor_count", 1),
        shared_bytes=shared,
        multiprocessor_shared_bytes=per_multiprocessor,
        l2_bytes=told.find("L2_cache_size", default=0),
        memory_bytes=memory, free_bytes=memory, bandwidth=_bandwidth(told),
        host_bandwidth=host_bandwidth(told.properties), float64_ratio=ratio,
        interpreted=Fact(False, "a GPU"),
    )  # fmt: skip


def _bandwidth(told: Told) -> Fact:
    """Memory clock (kHz) x 2 transfers x width of the bus (bits)."""
    clock = told.find("memory_clock_rate", "mem_clock_rate")
    width = told.find("memory_bus_width", "mem_bus_width")
    if clock.value is None or width.value is None:
        return Fact(None, "not told")
    value = 2 * clock.value * 1000 * width.value / 8
    return Fact(value, f"memory clock x 2 x bus width, {clock.source} and {width.source}")


def host_bandwidth(properties: Any, folder: str = _LINKS) -> Fact:
    """Transfers in a second x lanes of the PCI Express link, as Linux tells them."""
    numbers = [getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    if None in numbers:
        return Fact(None, "not told")
    place = pathlib.Path(folder, "{:04x}:{:02x}:{:02x}.0".format(*numbers))
    try:
        speed = float((place / "max_link_speed").read_text().split()[0])
        lanes = int((place / "max_link_width").read_text())
    except (OSError, ValueError, IndexError):
        return Fact(None, "not told")
    if not (0 < speed < math.inf and 0 < lanes <= 64):
        return Fact(None, "not told")
    share = 128 / 130 if speed >= _FAST_LINK else 8 / 10
    return Fact(speed * 1e9 * lanes / 8 * share, f"PCI Express, {speed:g} GT/s x {lanes} lanes")
