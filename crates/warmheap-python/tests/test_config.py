"""Settings: every way to make them, and the errors of wrong ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import warmheap
from warmheap import PoolConfig

YAML = """\
metal_optimizations:
  enabled: true
  memory_pool:
    heap_size_mb: 64
    num_heaps: 2
    warmup_sizes: [16]
    compaction:
      threshold: 0.25
"""
SETTINGS = {"heap_size_mb": 64, "num_heaps": 2, "warmup_sizes": [16], "compaction": {"threshold": 0.25}}


def test_every_way_leads_to_the_same_settings(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(YAML)
    by_attributes = PoolConfig()
    by_attributes.heap_size_mb = 64.0
    by_attributes.num_heaps = 2
    by_attributes.warmup_sizes = (16,)
    by_attributes.compaction.threshold = 0.25
    ways = [
        PoolConfig(**SETTINGS),
        PoolConfig.from_yaml(YAML),
        PoolConfig.from_yaml_file(path),
        PoolConfig.from_dict({"metal_optimizations": {"enabled": True, "memory_pool": SETTINGS}}),
        PoolConfig.from_dict({"memory_pool": SETTINGS}),
        by_attributes,
        PoolConfig().replace(**{**SETTINGS, "compaction": {}, "compaction.threshold": 0.25}),
    ]
    for way in ways:
        assert way == ways[0], way
        assert PoolConfig.from_yaml(way.to_yaml()) == PoolConfig.from_dict(way.to_dict()) == way
    named: list[Any] = [ways[0], path, str(path), SETTINGS]
    for config in named:
        with warmheap.MemoryPool(config, num_heaps=1) as pool:
            assert pool.config == ways[0].replace(num_heaps=1)


def test_defaults_are_the_guides() -> None:
    config = warmheap.MetalMemoryPoolConfig()
    assert (config.heap_size_mb, config.num_heaps, config.warmup_sizes) == (256, 4, [32, 128, 512])
    assert (config.enabled, config.track_statistics, config.log_exhaustion) == (True, True, True)
    assert (config.allocation_strategy, config.dynamic_growth, config.max_heaps) == ("round-robin", False, 8)
    assert config.compaction.to_dict() == {"enabled": False, "threshold": 0.5, "interval_ms": 60000, "step_mb": 64, "step_us": 2000}
    assert len(config.warnings()) == 1 and "512" in config.warnings()[0]
    assert PoolConfig.elastic().heap_sizing == "elastic"
    with warmheap.MemoryPool() as pool:
        assert pool.config == PoolConfig.elastic()


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"heap_size": 1}, "unknown key `heap_size`; did you mean `heap_size_mb`?"),
        ({"num_heaps": 0}, "`num_heaps` is `0`; it must be a whole number from 1 to 64"),
        ({"num_heaps": 2.5}, "whole number"),
        ({"num_heaps": 1 << 80}, "whole number"),
        ({"num_heaps": "2"}, "leave the quotes out"),
        ({"num_heaps": None}, "empty"),
        ({"enabled": "yes"}, "true or false"),
        ({"compaction": True}, "must be a section"),
        ({"compaction": {"thresholt": 1}}, "did you mean `threshold`?"),
        ({"allocation_strategy": "tightest"}, "round-robin, best-fit, least-used"),
        ({"dynamic_growth": True, "num_heaps": 9}, "more than `max_heaps`"),
    ],
)
def test_what_cannot_stand_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(warmheap.ConfigError) as caught:
        PoolConfig(**settings)
    assert isinstance(caught.value, ValueError)
    assert text in str(caught.value) and "line 1" not in str(caught.value)
    assert len(caught.value.problems) == 1
    with pytest.raises(warmheap.ConfigError):
        warmheap.MemoryPool(device="sim", **settings)


def test_a_file_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text("num_heaps: 1\nheap_size: 2\nscrub: always\n")
    with pytest.raises(warmheap.ConfigError) as caught:
        PoolConfig.from_yaml_file(path)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}: line 2: ") and second.startswith(f"{path}: line 3: ")
    assert len(caught.value.problems) == 2


def test_an_attribute_that_cannot_stand_changes_nothing() -> None:
    config = PoolConfig()
    before = copy.deepcopy(config)
    with pytest.raises(warmheap.ConfigError):
        config.num_heaps = 0
    with pytest.raises(warmheap.ConfigError, match="did you mean `num_heaps`"):
        config.num_heap = 3  # type: ignore[attr-defined]
    with pytest.raises(warmheap.ConfigError):
        config.compaction.threshold = 2
    with pytest.raises(TypeError, match="a setting cannot be object"):
        config.num_heaps = object()  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        config.nothing  # type: ignore[attr-defined]
    assert config == before
    config.num_heaps = 3
    assert config != before and copy.copy(config) == config


def test_every_key_is_an_attribute() -> None:
    config = PoolConfig()
    for key in PoolConfig.keys():
        thing: Any = config
        for name in key.split("."):
            assert name in dir(thing)
            thing = getattr(thing, name)
        parts = key.split(".")
        setattr(getattr(config, parts[0]) if len(parts) > 1 else config, parts[-1], thing)
    assert config == PoolConfig()


def test_numpy_numbers_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    config = PoolConfig(heap_size_mb=numpy.float64(1.5), growth_trigger=numpy.float32(0.5))
    assert (config.heap_size_mb, config.growth_trigger) == (1.5, 0.5)


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMHEAP_NUM_HEAPS", "3")
    assert PoolConfig(num_heaps=1).with_environment().num_heaps == 3
    small: dict[str, Any] = {"device": "sim", "heap_size_mb": 1, "num_heaps": 1, "warmup_sizes": []}
    assert warmheap.MemoryPool(**small).config.num_heaps == 3
    assert warmheap.MemoryPool(**small, environment=False).config.num_heaps == 1
    monkeypatch.setenv("WARMHEAP_NUM_HEAPS", "many")
    with pytest.raises(warmheap.ConfigError, match="WARMHEAP_NUM_HEAPS"):
        warmheap.MemoryPool(**small)
