"""Peaks of memory belong to the stretch they were measured in."""

import math

import pytest
import torch

from attribot.models import memory
from attribot.models.memory import peak_memory, reset_peak_memory

CPU = torch.device("cpu")
MEBIBYTE = 2**20


@pytest.mark.slow
@pytest.mark.skipif(math.isnan(peak_memory(CPU)), reason="no resettable peak on this system")
def test_what_was_freed_before_the_stretch_does_not_count():
    reset_peak_memory(CPU)
    resting = peak_memory(CPU)
    block = torch.ones(200 * MEBIBYTE, dtype=torch.uint8)
    del block
    grown = peak_memory(CPU) - resting
    reset_peak_memory(CPU)
    left = peak_memory(CPU) - resting
    # The system's counter of resident pages is exact to some mebibytes only.
    assert 180 * MEBIBYTE < grown < 220 * MEBIBYTE
    assert abs(left) < 20 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.skipif(math.isnan(peak_memory(CPU)), reason="no resettable peak on this system")
def test_many_small_blocks_are_handed_back_too():
    reset_peak_memory(CPU)
    resting = peak_memory(CPU)
    # Below the allocator's threshold for maps of their own: freed, they may stay with the process.
    blocks = [torch.ones(50_000, dtype=torch.uint8) for _ in range(2000)]
    grown = peak_memory(CPU) - resting
    del blocks
    reset_peak_memory(CPU)
    assert grown > 80 * MEBIBYTE
    assert peak_memory(CPU) - resting < 20 * MEBIBYTE


def test_a_device_without_a_peak_says_so():
    reset_peak_memory(torch.device("meta"))
    assert math.isnan(peak_memory(torch.device("meta")))


def test_a_system_without_a_resettable_peak_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "absent")
    reset_peak_memory(CPU)
    assert math.isnan(peak_memory(CPU))
    assert not (tmp_path / "absent").exists()
