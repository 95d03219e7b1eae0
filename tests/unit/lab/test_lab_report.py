"""The table, the verdict, the JSON, the progress bar, and the limits handed to the sidecars."""

import io
import json
import math
import random

import pytest

from proxy.lab.arms import ArmResult, Plan, free_addresses, pod_limits, sidecar_argvs, told_settings
from proxy.lab.models import MODELS, Pool, Quota
from proxy.lab.pages import Habits
from proxy.lab.progress import Progress, bar
from proxy.lab.report import Comparison, as_json, quantile, table, title, verdict


def plan() -> Plan:
    return Plan(Pool(rng=random.Random(1)), {}, pages=100, seed=1, seconds=60.0, habits=Habits())


def arm(name: str = "direct", *, delivered: int = 100, errors: int = 0, wall_s: float = 5.0) -> ArmResult:
    return ArmResult(
        arm=name,
        pages=100,
        delivered=delivered,
        wall_s=wall_s,
        errors=errors,
        error_kinds={"status 500": errors} if errors else {},
        page_s=[i / 100 for i in range(1, delivered + 1)],
        call_s=[],
        upstream={"attempts": delivered + errors, "connections_opened": 98},
    )


def test_table_is_aligned() -> None:
    lines = table([arm(errors=23), arm("sidegate", wall_s=2.0)]).splitlines()
    assert lines == [
        "arm       pages  wall s  pages/s  app errors  attempts/page  p50 s  p99 s  connections",
        "--------  -----  ------  -------  ----------  -------------  -----  -----  -----------",
        "direct      100     5.0       20          23           1.23   0.50   0.99           98",
        "sidegate    100     2.0       50           0           1.00   0.50   0.99           98",
    ]


def test_table_of_nothing_delivered_does_not_divide_by_it() -> None:
    line = table([arm(delivered=0, errors=7, wall_s=0.0)]).splitlines()[2]
    assert line.split() == ["direct", "0/100", "0.0", "0", "7", "inf", "nan", "nan", "98"]


@pytest.mark.parametrize(
    ("arms", "fine", "told"),
    [
        ([arm(errors=3)], True, "calling directly, the apps saw 3 errors; Sidegate was not tried"),
        (
            [arm(errors=1, wall_s=4.0), arm("sidegate", wall_s=3.0)],
            True,
            "calling directly, the apps saw 1 error and took 1.3 times as long; "
            "through Sidegate they saw none and every page arrived",
        ),
        (
            [arm(delivered=90, errors=9), arm("sidegate")],
            True,
            "calling directly, the apps saw 9 errors and 10 pages never arrived; "
            "through Sidegate they saw none and every page arrived",
        ),
        (
            [arm(), arm("sidegate", errors=2)],
            False,
            "NOT FINE: through Sidegate the apps saw 2 errors (2 x status 500)",
        ),
        (
            [arm(), arm("sidegate", delivered=99)],
            False,
            "NOT FINE: through Sidegate the apps saw no errors and 1 pages never arrived",
        ),
    ],
)
def test_verdict_says_what_came_through(arms: list[ArmResult], fine: bool, told: str) -> None:
    comparison = Comparison(plan(), arms)
    assert comparison.is_fine is fine
    assert verdict(comparison) == f"pool: {told}"


def test_json_holds_the_table_and_is_valid() -> None:
    """Strict JSON: no NaN or Infinity, even when nothing was delivered."""
    comparison = Comparison(plan(), [arm(errors=1), arm("sidegate", delivered=0)])
    told = json.loads(json.dumps(as_json(comparison), allow_nan=False))
    assert told["mode"] == "pool"
    assert told["params"]["workers"] == 24
    assert told["fine"] is False
    direct, through = told["arms"]
    assert (direct["app_errors"], direct["attempts_per_page"], direct["page_p99_s"]) == (1, 1.01, 0.99)
    assert (through["missing"], through["attempts_per_page"], through["page_p50_s"]) == (100, None, None)


def test_title_names_model_parameters_and_load() -> None:
    assert title(plan()).splitlines() == [
        "pool: A worker pool with a bounded queue; what does not fit gets a fast 500.",
        "service_s 0.12, service_cv 0.5, workers 24, queue 16",
        "8 pods, 98 threads, 100 pages, seed 1",
    ]


def test_quantile_is_a_value_that_occurred() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], q) for q in (0.0, 0.5, 0.51, 1.0)] == [1.0, 2.0, 3.0, 4.0]
    assert math.isnan(quantile([], 0.5))


def test_limits_of_a_pool_add_up_to_what_it_bears() -> None:
    """24 workers and half of 16 places, by threads."""
    limits = pod_limits(plan())
    assert [each["concurrency"] for each in limits] == [2, 2, 3, 4, 4, 5, 6, 6]
    assert not any("rate" in each for each in limits)


def test_limits_of_a_quota_are_rates() -> None:
    """Concurrency then is each pod's own threads."""
    quota = Plan(Quota(rng=random.Random(1)), {}, pages=100, seed=1, seconds=60.0, habits=Habits())
    limits = pod_limits(quota)
    assert [each["concurrency"] for each in limits] == [5, 7, 9, 11, 13, 15, 18, 20]
    assert sum(each["rate"] for each in limits) == pytest.approx(99.2, abs=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_every_fixed_limit_is_a_whole_number_from_one(name: str) -> None:
    demo = Plan(MODELS[name](rng=random.Random(1)), {}, 100, 1, 60.0, Habits())
    assert all(isinstance(each["concurrency"], int) and each["concurrency"] >= 1 for each in pod_limits(demo))


def test_sidecars_are_peers_and_learn_unless_they_are_told() -> None:
    """Each names the ops side of all, its own among them; what one is told comes last."""
    told = told_settings({"concurrency": 3, "rate": 12.5})
    free, bound = sidecar_argvs(["127.0.0.1:8000"] * 2, [["retry.attempts=2"], told])
    ops = [argv[argv.index("--ops") + 1] for argv in (free, bound)]
    assert " ".join(free[1:]) == (
        "-m proxy run --upstream http://127.0.0.1:8000"
        f" --listen 127.0.0.1:0 --ops {ops[0]} --admin 127.0.0.1:0"
        f" --set fleet.peers={json.dumps(ops)} --set retry.attempts=2"
    )
    assert [word for word in bound if word.startswith("limits.")] == [
        "limits.concurrency.mode=fixed",
        "limits.concurrency.limit=3",
        "limits.rate=12.5",
    ]


def test_sidecars_before_several_addresses_are_one_fleet() -> None:
    """Its name is the upstream's address by default, and here that is not the same for all."""
    argvs = sidecar_argvs(["127.0.0.1:8000", "127.0.0.2:8000"], [[], []])
    assert all("fleet.name=lab" in argv for argv in argvs)


def test_free_addresses_are_all_different() -> None:
    assert len(set(free_addresses(20))) == 20


def test_bar_fills_up() -> None:
    assert bar(0.0) == "[" + "." * 30 + "]"
    assert bar(0.5) == "[" + "#" * 15 + "." * 15 + "]"
    assert bar(7.0) == "[" + "#" * 30 + "]"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_redraws_one_line_on_a_terminal_and_leaves_none() -> None:
    stream = Terminal()
    progress = Progress(stream)
    for done in (1, 50, 100):
        progress.pages("pool direct", done=done, total=100, errors=2, elapsed_s=1.0)
    progress.clear()
    drawn = stream.getvalue().split("\r")
    assert "\n" not in stream.getvalue()
    assert "50/100 pages  2 errors  1.0 s" in drawn[2]
    assert drawn[-2].strip() == drawn[-1] == ""


def test_progress_is_a_line_now_and_then_elsewhere() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.step("pool direct", "starting")
    for done in range(20):
        progress.pages("pool direct", done=done, total=100, errors=0, elapsed_s=1.0)
    assert stream.getvalue().splitlines() == ["pool direct            starting"]
