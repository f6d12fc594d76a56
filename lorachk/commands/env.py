"""env: what this machine is, for a bug report. Asks the same collectors that rules do; torch is not imported."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterable
from typing import Any

from lorachk import __version__
from lorachk.facts.collector import COLLECTORS, Context, NotCollected, Row
from lorachk.launchers.versions import installed
from lorachk.report.escape import dump_json, visible
from lorachk.run import Run

_TABLES = ("package", "host", "gpu", "gpu_pair", "tool", "environment")
_OWN = ("duckdb", "msgspec", "pydantic", "rich")  # what lorachk itself stands on, beside what a run stands on


class _Rows(dict[str, list[dict[str, Any]]]):
    """A sink that keeps rows as they are."""

    def add(self, table: str, rows: Iterable[Row]) -> None:
        self.setdefault(table, []).extend(dict(row) for row in rows)

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        self.add("unknown", [{"fact": fact, "reason": reason, "count": count}])


def run(arguments: argparse.Namespace) -> int:
    """Print the machine report."""
    report = machine()
    print(dump_json(report) if arguments.format == "json" else _text(report), end="")
    return 0


def machine() -> dict[str, Any]:
    """Versions, host and GPUs; what could not be looked at stands under `unknown`."""
    rows = _Rows()
    context = Context(Run(), rows)
    for collector in COLLECTORS:
        if set(collector.tables) & set(_TABLES):
            try:
                collector.run(context)
            except NotCollected as reason:
                rows.unknown(collector.tables[0], str(reason))
    packages = {row["name"]: row["version"] for row in rows.get("package", [])}
    packages |= {name: found for name in _OWN if (found := installed(name))}
    return {
        "lorachk": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "host": next(iter(rows.get("host", [])), {}),
        "gpus": rows.get("gpu", []),
        "gpu_pairs": rows.get("gpu_pair", []),
        "tools": rows.get("tool", []),
        "environment": {row["name"]: row["value"] for row in rows.get("environment", [])},
        "packages": dict(sorted(packages.items())),
        "unknown": {row["fact"]: row["reason"] for row in rows.get("unknown", [])},
    }


def _text(report: dict[str, Any]) -> str:
    host = report["host"]
    lines = [
        ("lorachk", report["lorachk"]),
        ("python", f"{report['python']} ({report['executable']})"),
        ("platform", report["platform"]),
        *_host_lines(host),
        *_gpu_lines(report),
        *((tool["name"], tool["problem"] or _found(tool)) for tool in report["tools"] if tool["name"] != "torch"),
        *((name, f"set to {value}") for name, value in report["environment"].items()),
        *report["packages"].items(),
    ]
    width = max(17, *(len(name) for name, _ in lines))
    return "".join(f"{name:<{width}} {visible(str(value))}\n" for name, value in lines)


def _host_lines(host: dict[str, Any]) -> list[tuple[str, str]]:
    quota = f", no more time than {host['cpu_quota']:g} of them" if host.get("cpu_quota") else ""
    limit = " (limit of the container)" if host.get("memory_limit") else ""
    disk = f", {host['disk_type']}" if host.get("disk_type") else ""
    problem = f"; nothing can be written there: {host['output_problem']}" if host.get("output_problem") else ""
    cuda = f", CUDA up to {host['driver_cuda']}" if host.get("driver_cuda") else ""
    return [
        ("cpus", f"{host.get('cpu_count', 'unknown')}{quota}"),
        ("memory", f"{_gib(host.get('memory_available'))} free of {_gib(host.get('memory_total'))}{limit}"),
        ("/dev/shm", _free(host, "shm")),  # noqa: S108
        ("disk here", f"{_free(host, 'disk')}{disk}{problem}"),
        ("network", ", ".join(host.get("interfaces") or ["unknown"])),
        ("driver", f"{host['driver']}{cuda}" if host.get("driver") else "none"),
    ]


def _gpu_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    host, lines = report["host"], []
    for gpu in report["gpus"]:
        words = [
            f"{gpu.get('name') or 'unnamed'}, {_gib(gpu.get('memory_free'))} free of {_gib(gpu.get('memory_total'))}"
        ]
        if gpu.get("compute_capability"):
            words.append(f"compute capability {gpu['compute_capability']}")
        if gpu.get("processes"):
            held = gpu.get("process_bytes")
            words.append(f"{gpu['processes']} processes on it" + (f" hold {_gib(held)}" if held is not None else ""))
        if gpu.get("uuid"):
            words.append(gpu["uuid"])
        lines.append((f"gpu {gpu.get('index')}", ", ".join(words)))
    if not lines:
        lines.append(("gpu", f"none: {report['unknown'].get('gpu', 'the driver sees none')}"))
    everything = len(host.get("gpu_names") or ())
    if host.get("visible_devices") is not None:
        lines.append(
            ("visible gpus", f"{len(report['gpus'])} of {everything}: CUDA_VISIBLE_DEVICES={host['visible_devices']}")
        )
    ways: dict[str, list[str]] = {}
    for pair in report["gpu_pairs"]:
        way = "NVLink" if pair["nvlink"] else f"over the {pair['ancestor'] or 'unknown'}"
        peer = "" if pair["p2p"] == "ok" else f", no peer-to-peer ({pair['p2p'] or 'unknown'})"
        ways.setdefault(way + peer, []).append(f"{pair['a']}-{pair['b']}")
    return lines + [("gpu to gpu", f"{way}: {', '.join(pairs)}") for way, pairs in ways.items()]


def _found(tool: dict[str, Any]) -> str:
    return f"{tool['version']} ({tool['path']})" if tool["path"] else str(tool["version"])


def _free(host: dict[str, Any], what: str) -> str:
    return f"{_gib(host.get(f'{what}_available'))} free of {_gib(host.get(f'{what}_total'))}"


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
