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

_TABLES = ("package", "host", "gpu")
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
        "packages": dict(sorted(packages.items())),
        "unknown": {row["fact"]: row["reason"] for row in rows.get("unknown", [])},
    }


def _text(report: dict[str, Any]) -> str:
    host, unknown = report["host"], report["unknown"]
    lines = [
        ("lorachk", report["lorachk"]),
        ("python", f"{report['python']} ({report['executable']})"),
        ("platform", report["platform"]),
        ("cpus", f"{host.get('cpu_count', 'unknown')}"),
        ("memory", f"{_gib(host.get('memory_available'))} free of {_gib(host.get('memory_total'))}"),
        ("/dev/shm", f"{_gib(host.get('shm_available'))} free"),  # noqa: S108
        ("disk here", f"{_gib(host.get('disk_available'))} free"),
        ("driver", host.get("driver") or "none"),
    ]
    for gpu in report["gpus"]:
        capability = f", compute capability {gpu['compute_capability']}" if gpu.get("compute_capability") else ""
        free = f"{_gib(gpu.get('memory_free'))} free of {_gib(gpu.get('memory_total'))}"
        lines.append((f"gpu {gpu.get('index')}", f"{gpu.get('name') or 'unnamed'}, {free}{capability}"))
    if not report["gpus"]:
        lines.append(("gpu", f"none: {unknown.get('gpu', 'the driver sees none')}"))
    lines += list(report["packages"].items())
    return "".join(f"{name:<17} {visible(str(value))}\n" for name, value in lines)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
