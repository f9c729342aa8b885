"""Settings: every way to make them, and the errors of wrong ones."""

from __future__ import annotations

import collections
import collections.abc
import copy
import json
import pickle
import time
import types
from pathlib import Path
from typing import Any, Callable

import pytest
import warmheap
from conftest import MIB, at_once
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
        ({"num_heaps": 0}, "`num_heaps` is `0`; it must be a whole number from 1 to 4096"),
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
    with pytest.raises(warmheap.ArgumentError, match="a setting cannot be object"):
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
    config = PoolConfig(num_heaps=numpy.int64(3), enabled=numpy.bool_(False), scrub=numpy.str_("on_free"))
    assert (config.num_heaps, config.enabled, config.scrub) == (3, False, "on_free")
    assert PoolConfig(warmup_sizes=numpy.array([1.5, 2])).warmup_sizes == [1.5, 2]


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMHEAP_NUM_HEAPS", "3")
    assert PoolConfig(num_heaps=1).with_environment().num_heaps == 3
    small: dict[str, Any] = {"device": "sim", "heap_size_mb": 1, "num_heaps": 1, "warmup_sizes": []}
    assert warmheap.MemoryPool(**small).config.num_heaps == 3
    assert warmheap.MemoryPool(**small, environment=False).config.num_heaps == 1
    monkeypatch.setenv("WARMHEAP_NUM_HEAPS", "many")
    with pytest.raises(warmheap.ConfigError, match="WARMHEAP_NUM_HEAPS"):
        warmheap.MemoryPool(**small)


def test_lists_and_dicts_of_settings_take_changes_or_refuse_them() -> None:
    config = PoolConfig(warmup_sizes=[1], quotas={"kv": 4})
    sizes: Any = config.warmup_sizes
    sizes.append(5)
    sizes += [6]
    config.warmup_sizes += [2]
    sizes.sort()
    del sizes[0]
    sizes[0] = 3
    sizes.insert(1, 4)
    assert sizes == config.warmup_sizes == [3, 4, 5, 6] and sizes.pop() == 6
    assert config.warmup_sizes == [3, 4, 5] and isinstance(sizes, list)
    wrongs: list[Callable[[], object]] = [lambda: sizes.append("x"), lambda: sizes.extend([-1]), lambda: sizes.__setitem__(0, None)]
    for wrong in wrongs:
        with pytest.raises(warmheap.ConfigError):
            wrong()
        assert sizes == config.warmup_sizes == [3, 4, 5]
    stale, config.warmup_sizes = config.warmup_sizes, [7]
    stale.append(8)
    assert stale == config.warmup_sizes == [7, 8]
    sizes.clear()
    assert config.warmup_sizes == []

    quotas = config.quotas
    quotas.update(weights=5)
    quotas["x"] = 1
    assert quotas.setdefault("y", 2) == 2 and quotas.pop("x") == 1
    del quotas["kv"]
    assert quotas == config.quotas == {"weights": 5, "y": 2} and isinstance(quotas, dict)
    with pytest.raises(warmheap.ConfigError):
        quotas["z"] = -1
    assert quotas == config.quotas == {"weights": 5, "y": 2}
    assert json.dumps(quotas) == json.dumps(copy.copy(quotas)) and type(copy.copy(sizes)) is list
    assert pickle.loads(pickle.dumps([sizes, quotas, config.limits])) == [[], quotas, config.limits]


def test_the_settings_of_a_pool_refuse_changes() -> None:
    with warmheap.MemoryPool(device="sim", quotas={"kv": 4}) as pool:
        config = pool.config
        changes: list[Callable[[], object]] = [
            lambda: setattr(config, "num_heaps", 9),
            lambda: setattr(config.compaction, "threshold", 0.1),
            lambda: config.warmup_sizes.append(5),
            lambda: config.quotas.update(kv=5),
            lambda: delattr(config, "num_heaps"),
            lambda: delattr(config.limits, "hard_mb"),
        ]
        for change in changes:
            with pytest.raises(warmheap.ConfigError):
                change()
        assert config == pool.config
        for changed in (config.replace(), copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
            changed.num_heaps = 9
            assert changed.num_heaps == 9 and changed != config
        with pytest.raises(warmheap.ConfigError, match="pool.config.replace"):
            config.num_heaps = 9


def test_what_is_not_said_keeps_its_default(tmp_path: Path) -> None:
    elastic = PoolConfig.elastic()
    of_fixed_heaps = {"heap_size_mb", "num_heaps", "allocation_strategy", "dynamic_growth", "max_heaps", "growth_trigger", "warmup_sizes"}
    others: dict[str, Any] = {
        "trim_after_ms": 200, "limits": {"hard_mb": 32}, "scrub": "on_free", "quotas": {"kv": 4}, "wait_ms": 5,
        "track_statistics": False, "log_exhaustion": False, "compaction": {"enabled": True}, "thread_cache_mb": 1,
        "thread_heaps": False, "enabled": False,
    }  # fmt: skip
    assert {key.split(".")[0] for key in PoolConfig.keys()} == of_fixed_heaps | set(others) | {"heap_sizing"}
    for key, value in others.items():
        with warmheap.MemoryPool(**{key: value}) as pool:
            assert pool.config == elastic.replace(**{key: value}), key
        with warmheap.MemoryPool({key: value}) as pool:
            assert pool.config == elastic.replace(**{key: value}), key
    for key in of_fixed_heaps:
        value = getattr(PoolConfig(), key)
        with warmheap.MemoryPool(device="sim", **{key: value}) as pool:
            assert pool.config == PoolConfig(), key
        with warmheap.MemoryPool(device="sim", heap_sizing="elastic", **{key: value}) as pool:
            assert pool.config == elastic.replace(heap_sizing="elastic", **{key: value}), key
            assert pool.config == PoolConfig.elastic(**{key: value}), key
    path = tmp_path / "pool.yaml"
    path.write_text("trim_after_ms: 200")
    with warmheap.MemoryPool(path, scrub="on_free") as pool:
        assert pool.config == elastic.replace(trim_after_ms=200, scrub="on_free")
    with warmheap.MemoryPool(limits={"hard_mb": 32}) as pool:
        assert pool.allocate(MIB).size == MIB


def test_keys_of_fixed_heaps_choose_fixed_heaps_wherever_they_are_said(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text("wait_ms: 5")
    before = PoolConfig.elastic(wait_ms=5)
    for base in (before, {"wait_ms": 5}, path):
        with warmheap.MemoryPool(base, device="sim", num_heaps=2) as pool:
            assert pool.config == before.replace(num_heaps=2) == PoolConfig(wait_ms=5, num_heaps=2)
        with warmheap.MemoryPool(base, device="sim", num_heaps=2, heap_sizing="elastic") as pool:
            assert pool.config == PoolConfig.elastic(wait_ms=5, num_heaps=2)
        with warmheap.MemoryPool(base, device="sim", scrub="on_free") as pool:
            assert pool.config == before.replace(scrub="on_free") == PoolConfig.elastic(wait_ms=5, scrub="on_free")
    # Sizes that were said before stay.
    assert PoolConfig.elastic(warmup_sizes=[3]).replace(num_heaps=2) == PoolConfig(num_heaps=2, warmup_sizes=[3])
    # An attribute changes only itself.
    before.num_heaps = 2
    before.warmup_sizes.append(3)
    assert before == PoolConfig.elastic(wait_ms=5, num_heaps=2, warmup_sizes=[3])
    assert any("num_heaps" in warning for warning in before.warnings())


def test_what_a_setting_shows_can_be_set() -> None:
    """A section, a list or a dict of this configuration or of another is what it shows."""
    other = PoolConfig(compaction={"threshold": 0.25}, limits={"hard_mb": 64}, quotas={"kv": 4}, warmup_sizes=[7])
    for config in (PoolConfig(), PoolConfig.elastic(), copy.copy(other)):
        before = copy.copy(config)
        for name in config.to_dict():
            setattr(config, name, getattr(config, name))
            assert config == before, name
        for name in ("compaction", "limits", "quotas", "warmup_sizes"):
            setattr(config, name, getattr(other, name))
            assert getattr(config, name) == getattr(other, name)
            shown = getattr(before, name)
            assert getattr(config.replace(**{name: shown}), name) == shown
    mappings: list[Any] = [
        types.MappingProxyType({"threshold": 0.25}), collections.UserDict(threshold=0.25),
        collections.OrderedDict(threshold=0.25), collections.ChainMap({"threshold": 0.25}),
    ]  # fmt: skip
    for mapping in mappings:
        config = PoolConfig(compaction=mapping)
        assert config.compaction == other.compaction
        assert PoolConfig.from_dict(collections.UserDict(compaction=mapping)) == config
        with warmheap.MemoryPool(types.MappingProxyType({"compaction": mapping})) as pool:
            assert pool.config.compaction == other.compaction
    assert PoolConfig(warmup_sizes=range(1, 4)).warmup_sizes == [1, 2, 3]
    for wrong in (b"12", bytearray(b"12"), memoryview(b"12")):
        with pytest.raises(warmheap.WarmheapError):
            PoolConfig(warmup_sizes=wrong)


def test_a_section_is_a_mapping() -> None:
    config = PoolConfig(limits={"hard_mb": 64})
    limits = config.limits
    assert isinstance(limits, collections.abc.Mapping)
    assert dict(limits) == {**limits} == limits.to_dict() and list(limits) == limits.keys()
    assert list(limits.items()) == list(zip(limits.keys(), limits.values())) and len(limits) == 5
    assert limits["hard_mb"] == limits.get("hard_mb") == 64 and "hard_mb" in limits and "x" not in limits
    assert limits.get("x") is None and limits.get("x", 3) == 3
    with pytest.raises(KeyError):
        limits["x"]
    limits.hard_mb = 32
    assert limits["hard_mb"] == config.limits.hard_mb == 32


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 64])
def test_threads_change_one_configuration_at_once(threads: int) -> None:
    config, wrong = PoolConfig(), []

    class Slow:
        def __float__(self) -> float:
            time.sleep(0.001)
            return float(config.num_heaps)

    def change(number: int) -> None:
        try:
            for turn in range(20):
                config.compaction = config.compaction
                config.limits.hard_mb = Slow()  # type: ignore[assignment]
                config.wait_ms = turn
                with pytest.raises(warmheap.ConfigError):
                    config.num_heaps = -1
                assert config == copy.copy(config) and config == config and repr(config)
        except BaseException as error:
            wrong.append(error)

    at_once(change, range(threads))
    assert not wrong and config == PoolConfig(limits={"hard_mb": 4}, wait_ms=19)


def test_a_mapping_may_change_while_it_is_read() -> None:
    settings: dict[str, Any] = {}

    class Hostile:
        def __float__(self) -> float:
            settings.update({f"key{n}": n for n in range(100)})
            return 4.0

    settings.update(hard_mb=Hostile(), soft_mb=1)
    assert PoolConfig(limits=settings).limits.hard_mb == 4


def test_a_pool_trims_itself_if_that_is_all_that_is_said() -> None:
    with warmheap.MemoryPool(device="sim", trim_after_ms=200) as pool:
        pool.allocate(64 * MIB).free()
        held = pool.reserved_bytes
        deadline = time.monotonic() + 20
        while pool.reserved_bytes == held and time.monotonic() < deadline:
            time.sleep(0.05)
        assert pool.reserved_bytes < held


def test_settings_are_copied_compared_and_read_back() -> None:
    config = PoolConfig(heap_size_mb=1.1, growth_trigger=0.1 + 0.2, quotas={"kv": 2}, compaction={"threshold": 0.3})
    for again in (
        PoolConfig.from_json(config.to_json()),
        PoolConfig.from_dict(json.loads(config.to_json())),
        pickle.loads(pickle.dumps(config)),
        copy.copy(config),
        copy.deepcopy(config),
    ):
        assert again == config and again is not config
    assert json.loads(config.to_json()) == config.to_dict()
    assert config.compaction == PoolConfig(compaction={"threshold": 0.3}).compaction == config.compaction.to_dict()
    assert config.compaction != PoolConfig().compaction
    html = config._repr_html_()
    assert html.startswith("<table>") and "{&quot;kv&quot;:2" in html
    for wrong in ("", "[]", "{", '{"num_heap": 1}', "1"):
        with pytest.raises(warmheap.ConfigError):
            PoolConfig.from_json(wrong)


def test_a_start_that_fails_names_what_would_fit() -> None:
    with pytest.raises(warmheap.StartError) as caught:
        warmheap.MemoryPool(device="sim:budget=600", heap_size_mb=256, num_heaps=4, warmup_sizes=[])
    assert "2 heaps of 128 MiB would fit" in str(caught.value)
    with warmheap.MemoryPool(device="sim:budget=600", heap_size_mb=128, num_heaps=2, warmup_sizes=[]) as pool:
        assert pool.reserved_bytes == 256 * MIB


def test_a_pool_without_settings_takes_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text("heap_size_mb: 8\nnum_heaps: 3\nwarmup_sizes: []\n")
    monkeypatch.setenv("WARMHEAP_CONFIG", str(path))
    assert warmheap.MemoryPool(device="sim").config.num_heaps == 3
    assert warmheap.MemoryPool(device="sim", num_heaps=2, warmup_sizes=[]).config.num_heaps == 2
    monkeypatch.setenv("WARMHEAP_CONFIG", "/nope.yaml")
    with pytest.raises(warmheap.ConfigError, match="nope"):
        warmheap.MemoryPool(device="sim")
    warmheap.MemoryPool(device="sim", environment=False)
