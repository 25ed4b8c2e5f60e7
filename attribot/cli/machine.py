"""What models would compute on and with, and what is kept for them on disk."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import constants

from attribot.cli.caches import MOVE, entries, nearest, size_of, why_not_writable
from attribot.cli.doctor import Finding
from attribot.errors import ModelNotFoundError
from attribot.models.bundled import bundled_dir
from attribot.models.loading import available_cores, cache_dir, computing_device
from attribot.models.precision import probe_dtype

GB = 1e9
# The bundled model takes 0.6 GB in float32, on disk and in memory.
LEAST_MEMORY, LEAST_DISK = 2 * GB, 1 * GB


def examine_machine() -> Iterator[Finding]:
    """Device, memory, dtype, threads, cache, hub and bundled model."""
    yield _device()
    yield _memory()
    yield _dtype()
    yield _threads()
    yield _cache()
    yield _hub()
    yield _bundled()


def _device() -> Finding:
    device = computing_device("auto")
    if device.type == "cpu":
        return Finding("ok", "device", "CPU, no accelerator that this PyTorch can use")
    text = str(device)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        text = f"{name}, {free / GB:.1f} of {total / GB:.1f} GB free"
    if importlib.util.find_spec("accelerate") is None:
        return Finding(
            "fail", "device", f"{text}; models cannot be put there", "pip install accelerate"
        )
    return Finding("ok", "device", text)


def _memory() -> Finding:
    memory = available_memory()
    text = f"{memory / GB:.1f} GB available"
    if memory < LEAST_MEMORY:
        advice = "take a small model, and bound it: --max-memory-gb"
        return Finding("warn", "memory", text, advice)
    return Finding("ok", "memory", text)


def available_memory(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> float:
    """What this process may take without swapping [bytes]: what is free, or what its container
    has left where that is less; all that is built in where the system does not tell."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        memory = float(lines["MemAvailable"].split()[0]) * 1024
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        memory = min(memory, float(most) - float(used.read_text()))
    return memory


def _dtype() -> Finding:
    device = computing_device("auto")
    probed = probe_dtype(device)
    name = str(probed.dtype).removeprefix("torch.")
    if probed.speedup is None:
        return Finding("ok", "dtype", f"auto is {name} on {device.type}")
    return Finding(
        "ok",
        "dtype",
        f"auto is {name}: bfloat16 is {probed.speedup:.2f} times as fast as float32 here",
    )


def _threads() -> Finding:
    cores, threads = available_cores(), torch.get_num_threads()
    text = f"{threads} threads for {cores} available cores"
    if threads > cores:
        advice = f"more threads than cores are many times slower: export OMP_NUM_THREADS={cores}"
        return Finding("warn", "threads", text, advice)
    if threads < cores:
        advice = f"to use all cores: export OMP_NUM_THREADS={cores}"
        return Finding("ok", "threads", text, advice)
    return Finding("ok", "threads", text)


def _cache() -> Finding:
    directory = cache_dir()
    folder = nearest(directory)
    if reason := why_not_writable(folder):
        return Finding("fail", "cache", f"{folder} cannot be written to: {reason}", MOVE)
    used = sum(map(size_of, entries(directory)))
    free = shutil.disk_usage(folder).free
    text = f"{directory} holds {used / GB:.2f} GB, {free / GB:.1f} GB are free"
    if free < LEAST_DISK:
        advice = "make room, or set ATTRIBOT_CACHE to a folder on another disk"
        return Finding("warn", "cache", text, advice)
    return Finding("ok", "cache", text)


def _hub() -> Finding:
    place = constants.HF_HUB_CACHE
    if constants.HF_HUB_OFFLINE:
        return Finding(
            "ok",
            "hub",
            f"offline: models come from {place} only",
            "to download models: unset HF_HUB_OFFLINE",
        )
    return Finding("ok", "hub", f"models are downloaded to {place}")


def _bundled() -> Finding:
    try:
        directory = bundled_dir()
    except ModelNotFoundError as error:
        return Finding("warn", "bundled model", "--model has to be given", str(error))
    if not os.access(directory, os.R_OK | os.X_OK):
        advice = "the first use converts it, which takes a minute; now: attribot models prepare"
        return Finding("warn", "bundled model", "not prepared yet", advice)
    return Finding("ok", "bundled model", str(directory))
