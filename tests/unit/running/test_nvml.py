"""NVML opened, named and asked, and what is said where it cannot be."""

import sys

import pytest
from fake_nvml import FakeNvml
from lowrank.running.nvml import Nvml, NvmlError, open_nvml

THREE = ("GPU-0", "GPU-1", "GPU-2")


def uuids(gpus):
    return [gpu.read("nvmlDeviceGetUUID") for gpu in gpus]


@pytest.mark.parametrize(
    ("package", "why"),
    [(None, "pynvml"), (FakeNvml(fault="missing"), "NVML Shared Library Not Found")],
)
def test_an_nvml_that_cannot_be_used_says_why_whatever_is_asked(monkeypatch, package, why):
    monkeypatch.setitem(sys.modules, "pynvml", package)
    nvml = open_nvml()
    for asked in (nvml.count, lambda: nvml.gpu("0"), lambda: nvml.visible(["GPU-0"])):
        with pytest.raises(NvmlError, match=rf"^NVML cannot be used \(.*{why}.*\)$"):
            asked()
    assert nvml.gpus() == []
    assert nvml.ask("nvmlSystemGetDriverVersion") is None


def test_an_nvml_that_is_there_is_opened_once_and_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(uuids=THREE))
    nvml = open_nvml()
    assert nvml.count() == 3
    assert nvml.ask("nvmlSystemGetDriverVersion") == "580.1"
    assert uuids(nvml.gpus()) == list(THREE)


def test_a_gpu_is_named_by_uuid_or_number():
    nvml = Nvml(FakeNvml(uuids=THREE))
    assert uuids([nvml.gpu("GPU-1"), nvml.gpu("2")]) == ["GPU-1", "GPU-2"]
    for name in ("GPU-7", "7"):
        with pytest.raises(NvmlError, match="NVML does not know this GPU"):
            nvml.gpu(name)


def test_a_gpu_that_fell_off_the_bus_is_left_out():
    library = FakeNvml(uuids=THREE)

    def by_index(index):
        if index == 1:
            raise library.NVMLError("GPU is lost")
        return THREE[index]

    library.nvmlDeviceGetHandleByIndex = by_index
    assert uuids(Nvml(library).gpus()) == ["GPU-0", "GPU-2"]


def test_what_cannot_be_said_is_an_error_when_read_and_none_when_asked():
    gpu = Nvml(FakeNvml(fault="denied")).gpu("GPU-0")
    assert gpu.ask("nvmlDeviceGetPowerUsage") is None
    with pytest.raises(NvmlError, match="^No Permission$"):
        gpu.read("nvmlDeviceGetPowerUsage")
    with pytest.raises(NvmlError, match="nvmlOfAnotherVersion"):
        gpu.read("nvmlOfAnotherVersion")


def test_a_number_means_any_gpu_unless_cuda_counts_as_nvml_does(monkeypatch):
    nvml = Nvml(FakeNvml(uuids=THREE))
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    assert uuids(nvml.visible(["GPU-2"])) == ["GPU-2"]
    assert uuids(nvml.visible(["1"])) == list(THREE)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert uuids(nvml.visible(["1"])) == ["GPU-1"]
