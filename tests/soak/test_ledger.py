"""No page is lost, doubled or wrong, and no POST without a key is executed twice, whatever one request in ten meets."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest
import uvloop

from tests.e2e.sidecar import Sidecar
from tests.soak.ledger import COUNTED_AS, Fault, Kind, Ledger, keep, open_origin

SETTINGS = (
    "limits.concurrency.mode=fixed",
    "limits.concurrency.limit=32",
    "timeouts.response_head=5s",
    "retry.backoff.base=5ms",
    "retry.backoff.max=50ms",
    "retry.budget.floor_per_s=10000",
    "log.access=off",
)
CONNECTIONS = 48
_ATTEMPTS = re.compile(r'sidegate_attempts_total\{.*reason="(\w+)"')
_CALLS = re.compile(r'sidegate_requests_total\{code="(\d+)".*reason="(\w+)"')


@pytest.mark.slow
def test_a_ledger_of_6_000_calls_is_right(tmp_path: Path) -> None:
    """5,000 GETs, 500 POSTs with a key and 500 without."""
    check_ledger(tmp_path, 5_000, 500, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_ledger_of_240_000_calls_is_right(tmp_path: Path) -> None:
    """200,000 GETs, 20,000 POSTs with a key and 20,000 without."""
    check_ledger(tmp_path, 200_000, 20_000, seed=2)


def check_ledger(folder: Path, gets: int, posts: int, seed: int) -> None:
    ledger = Ledger([Kind.GET] * gets + [Kind.KEYED] * posts + [Kind.KEYLESS] * posts)

    async def kept() -> dict[str, float]:
        server = await open_origin(ledger, seed)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with await asyncio.to_thread(Sidecar, url, folder, SETTINGS) as sidecar:
            await keep(ledger, sidecar.port, CONNECTIONS, seed)
            metrics = await asyncio.to_thread(sidecar.metrics)
        server.close()
        return metrics

    metrics = uvloop.run(kept())
    unknown = sum(ledger.refused[n] for n, kind in enumerate(ledger.kinds) if kind is Kind.KEYLESS)
    print(
        f"{sum(ledger.faults.values())} requests, told {dict(ledger.told)}, {sum(ledger.cuts.values())} visible cuts",
        end=" ",
    )
    print(f"{unknown} POSTs without a key whose outcome the app was told it does not know")
    assert ledger.wrong == []
    assert ledger.lost() == []
    assert ledger.doubled(Kind.KEYED) == []
    assert ledger.doubled(Kind.KEYLESS) == []
    assert ledger.invented() == []
    check_metrics(ledger, metrics)


def check_metrics(ledger: Ledger, metrics: dict[str, float]) -> None:
    """What the sidecar counted is what origin and app wrote down."""
    attempts: Counter[str] = Counter()
    calls: Counter[int] = Counter()
    for name, value in metrics.items():
        if match := _ATTEMPTS.match(name):
            attempts[match[1]] += int(value)
        elif (match := _CALLS.match(name)) and (match[1], match[2]) != ("200", "truncated"):
            calls[int(match[1])] += int(value)
    for reason, faults in COUNTED_AS.items():
        assert attempts[reason] == sum(ledger.faults[fault] for fault in faults), reason
    resets = ledger.faults[Fault.RESET] + ledger.faults[Fault.EXECUTED_RESET]
    assert attempts["reset"] + attempts["stale_connection"] >= resets
    assert set(attempts) <= {*COUNTED_AS, "reset", "stale_connection"}
    assert calls == ledger.told
