"""The command `warmheap`, as the package has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List

import warmheap


def command(*arguments: str, env: "dict[str, str] | None" = None) -> "subprocess.CompletedProcess[str]":
    line: List[str] = [sys.executable, "-m", "warmheap", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env=env)


def test_the_command_measures_checks_and_replays(tmp_path: Path, real_trace: Path) -> None:
    assert command("--version").stdout == f"warmheap {warmheap.__version__}\n"
    assert "Usage: warmheap" in command("--help").stdout
    config = tmp_path / "pool.yaml"
    config.write_text("heap_size_mb: 64\nnum_heaps: 2\nwarmup_sizes: [16]\n")
    checked = command("check", str(config))
    assert checked.returncode == 0 and "2 heaps" in checked.stdout, checked
    replayed = command("replay", str(real_trace), "--rounds", "1", "--json")
    assert replayed.returncode == 0 and json.loads(replayed.stdout)["failed"] == 0, replayed


def test_its_errors_and_exit_codes_are_the_commands() -> None:
    missing = command("check", "/no/such/file")
    assert missing.returncode == 1 and missing.stderr.startswith("error: "), missing
    assert command("no-such-command").returncode == 2
    assert json.loads(command("--json", "no-such-command").stderr)["error"]["exit_code"] == 2


def test_its_log_goes_to_standard_error(tmp_path: Path, real_trace: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("heap_size_mb: 1\nnum_heaps: 1\nwarmup_sizes: [64]\n")
    replayed = command("replay", str(real_trace), "--rounds", "1", "--config", str(config))
    assert replayed.returncode == 0 and "WARN" in replayed.stderr and "warm-up size 64 MiB" in replayed.stderr, replayed
    wrong = command("devices", env={**os.environ, "WARMHEAP_LOG": "nonsense"})
    assert wrong.returncode == 2 and "WARMHEAP_LOG" in wrong.stderr


def test_an_interrupt_ends_it() -> None:
    soak = [sys.executable, "-m", "warmheap", "replay", str(Path(__file__).parents[3] / "traces" / "qwen05b_short.csv.zst"),
            "--rounds", "100000"]
    # A shell lets programs in the background ignore interrupts.
    def as_usual() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(soak, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=as_usual) as running:
        time.sleep(2)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=10) == -signal.SIGINT
