"""NVIDIA's management library (NVML): here alone it is opened, and its GPUs are named and asked.

Drivers and versions of the library differ in what they have, and not every refusal is NVML's own
error. So whatever a call raises means the same: it cannot say.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from lowrank.base.errors import LowrankError, one_line


class NvmlError(LowrankError):
    """NVML cannot be used, does not know a GPU, or cannot say something."""


class _Asked:
    """What NVML can be asked about, by its functions' own names.

    Parameters
    ----------
    library
        The `pynvml` module, initialised; None if NVML cannot be used.
    reason
        Why it cannot be used.
    subject
        What the functions take before their arguments: the handle of a GPU, or nothing.
    """

    def __init__(self, library: Any, reason: str = "", subject: tuple[Any, ...] = ()) -> None:
        self._library, self._reason, self._subject = library, reason, subject

    def read(self, function: str, *arguments: Any) -> Any:
        """Return what a function says.

        Raises
        ------
        NvmlError
            If NVML cannot be used, lacks the function, or cannot say; the message is why.
        """
        if self._library is None:
            raise NvmlError(self._reason)
        try:
            return getattr(self._library, function)(*self._subject, *arguments)
        except Exception as error:
            raise NvmlError(one_line(error)) from error

    def ask(self, function: str, *arguments: Any) -> Any:
        """Return what a function says, or None if it cannot say."""
        try:
            return self.read(function, *arguments)
        except NvmlError:
            return None


class Gpu(_Asked):
    """One GPU of this machine."""


class Nvml(_Asked):
    """NVML and all GPUs of this machine. Nothing of a card is changed."""

    def count(self) -> int:
        """Return how many GPUs there are.

        Raises
        ------
        NvmlError
            If NVML cannot be used.
        """
        return self.read("nvmlDeviceGetCount")

    def gpu(self, name: str) -> Gpu:
        """Return a GPU by its UUID, or by NVML's number, which follows the PCI bus.

        Raises
        ------
        NvmlError
            If NVML cannot be used, or does not know the GPU.
        """
        if self._library is None:
            raise NvmlError(self._reason)
        try:
            if name.isdigit():
                handle = self.read("nvmlDeviceGetHandleByIndex", int(name))
            else:
                handle = self.read("nvmlDeviceGetHandleByUUID", name)
        except NvmlError as error:
            raise NvmlError(f"NVML does not know this GPU ({error})") from None
        return Gpu(self._library, subject=(handle,))

    def gpus(self) -> list[Gpu]:
        """Return the GPUs that answer, in the order of the PCI bus; none without NVML."""
        found = []
        with contextlib.suppress(NvmlError):
            for index in range(self.count()):
                with contextlib.suppress(NvmlError):
                    found.append(self.gpu(str(index)))
        return found

    def visible(self, names: Sequence[str]) -> list[Gpu]:
        """Return the GPUs that CUDA may mean by names, as in CUDA_VISIBLE_DEVICES.

        CUDA numbers the fastest GPU first, unless CUDA_DEVICE_ORDER is PCI_BUS_ID. So where a
        number is among the names, any GPU of the machine may be meant.

        Raises
        ------
        NvmlError
            If NVML cannot be used, or does not know a name.
        """
        named = [self.gpu(name) for name in names]
        is_numbered = any(name.isdigit() for name in names)
        if is_numbered and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            return self.gpus()
        return named


def open_nvml() -> Nvml:
    """Open NVML; where it cannot be used, what is returned says why whenever it is asked."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # the package, the driver's library or the driver itself is missing
        return Nvml(None, f"NVML cannot be used ({one_line(error)})")
    return Nvml(pynvml)
