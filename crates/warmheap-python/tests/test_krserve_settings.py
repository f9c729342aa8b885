"""The settings of `krserve_native`, in files and in code."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import warmheap

kr = pytest.importorskip("krserve_native")

ENGINE = """
mlx: {concurrency_limit: 1}
metal_optimizations:
  enabled: true
  memory_pool: {enabled: true, heap_size_mb: 64, num_heaps: 2, warmup_sizes: [32]}
  blit_queue:
    enabled: true
    use_shared_events: true
    staging_buffer_size_mb: 64
    max_concurrent_ops: 4
    verbose_logging: false
    track_metrics: true
  command_buffer_ring: {enabled: true, ring_size: 3, timeout_ms: 500, log_wait_events: true}
  graceful_fallback: true
  fallback_log_level: 'warn'
cpu_optimizations: {enabled: true}
kv_cache_pool: {enabled: true}
"""


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "runtime.yaml"
    path.write_text(text, encoding="utf-8")
    return kr.read_config(path)


def test_the_three_sections_of_a_file_are_read(tmp_path: Path) -> None:
    config = read(tmp_path, ENGINE)
    assert config.memory_pool == warmheap.PoolConfig(heap_size_mb=64, num_heaps=2, warmup_sizes=[32])
    assert config.blit_queue == kr.BlitQueueConfig(max_pending_ops=4)
    assert config.command_ring == kr.CommandBufferRingConfig(ring_size=3, timeout_ms=500, log_wait_events=True)
    renamed = ENGINE.replace("command_buffer_ring", "command_ring").replace("max_concurrent_ops", "max_pending_ops")
    assert read(tmp_path, renamed) == config
    off = read(tmp_path, ENGINE.replace("  enabled: true\n  memory_pool", "  enabled: false\n  memory_pool"))
    assert not (off.memory_pool.enabled or off.blit_queue.enabled or off.command_ring.enabled)
    assert read(tmp_path, "memory_pool: {num_heaps: 2}").blit_queue == kr.BlitQueueConfig()


@pytest.mark.parametrize(
    "before, after, text",
    [
        ("max_concurrent_ops: 4", "max_concurrent_ops: many", "line 10: `max_concurrent_ops` is `many`; it must be a w"),
        ("max_concurrent_ops: 4", "max_concurrent_ops: 0", "line 10: `max_concurrent_ops` is `0`"),
        ("max_concurrent_ops: 4", "max_concurrent_ops: 1_0", "line 10: `max_concurrent_ops` is `1_0`"),
        ("max_concurrent_ops: 4", "max_concurrent_ops: [1]", "line 10: `max_concurrent_ops` is `a list of 1`"),
        ("max_concurrent_ops: 4", "max_pendingops: 4", "line 10: unknown key `max_pendingops`; did you mean `max_pend"),
        ("track_metrics: true", "track_metrics: yes", "line 12: `track_metrics` is `yes`; it must be true or false"),
        ("track_metrics: true", "max_pending_ops: 1", "line 12: `max_pending_ops` was already set on line 10"),
        ("ring_size: 3", "ring_size: 3.5", "line 13: `ring_size` is `3.5`; it must be a whole number from 1 to 1024"),
        ("graceful_fallback: true", "command_ring: {}", "line 14: `command_ring` was already set on line 13; keep one"),
        ("  blit_queue:\n", "  blit_queue: 5\n  other:\n", "line 6: `blit_queue` is no section"),
        ("heap_size_mb: 64", "heap_size_mb: x", "line 5: `heap_size_mb` is `x`"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, before: str, after: str, text: str) -> None:
    assert before in ENGINE
    with pytest.raises(warmheap.ConfigError, match=text) as caught:
        read(tmp_path, ENGINE.replace(before, after))
    assert str(caught.value).startswith(str(tmp_path / "runtime.yaml")) and len(caught.value.problems) == 1


def test_settings_are_checked_when_they_are_set() -> None:
    config = kr.BlitQueueConfig(max_pending_ops=4)
    for key, value, text in [
        ("max_pending_ops", 0, "`max_pending_ops` is 0; it must be a whole number from 1 to 65536"),
        ("max_pending_ops", True, "is True; it must be a whole"),
        ("enabled", 1, "`enabled` is 1; it must be True or False"),
        ("max_pending", 1, "unknown key `max_pending`; did you mean `max_pending_ops`?"),
        ("heaps", 1, "unknown key `heaps`; known keys are enabled, max_pending_ops"),
    ]:
        with pytest.raises(warmheap.ConfigError, match=text.replace("?", "[?]")):
            setattr(config, key, value)
    with pytest.raises(warmheap.ConfigError, match="cannot be deleted"):
        del config.enabled
    assert config == kr.BlitQueueConfig(max_pending_ops=4) != kr.BlitQueueConfig()
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert "max_pending_ops=4" in repr(config) and config.to_dict()["enabled"] is True
    copies = kr.BlitQueue(config)
    config.max_pending_ops = 5
    assert "of 4" in repr(copies), "a queue has the settings that it began with"


@pytest.mark.parametrize("written, meant", [("blit_queu", "blit_queue"), ("comand_ring", "command_ring")])
def test_a_misspelt_section_is_refused(tmp_path: Path, written: str, meant: str) -> None:
    file = tmp_path / "runtime.yaml"
    file.write_text(f"metal_optimizations:\n  {written}:\n    enabled: true\n")
    with pytest.raises(warmheap.ConfigError, match=f"line 2: unknown section `{written}`; did you mean `{meant}`"):
        kr.read_config(file)
