"""The command line: what is asked for, and what cannot be."""

import argparse

import pytest

from proxy.cli import lab
from proxy.lab.command import plans_of
from proxy.lab.models import MODELS


def args_of(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    lab.add_parser(parser.add_subparsers())
    return parser.parse_args(["lab", *argv])


def test_default_is_the_collapse_with_sidecars_that_are_told_nothing() -> None:
    (plan,) = plans_of(args_of())
    assert (plan.model.name, plan.pages, plan.seed, plan.seconds) == ("collapse", 1000, 1, 60.0)
    assert not plan.is_told
    assert plans_of(args_of("--told"))[0].is_told


def test_all_is_every_model_once() -> None:
    assert [plan.model.name for plan in plans_of(args_of("--mode", "pool", "--mode", "all"))] == list(MODELS)


def test_modes_run_in_the_order_asked_for() -> None:
    asked = ("--mode", "usl", "--mode", "pool", "--mode", "usl")
    assert [plan.model.name for plan in plans_of(args_of(*asked))] == ["usl", "pool"]


def test_parameter_reaches_every_model_that_has_it_and_the_app() -> None:
    pool, usl = plans_of(
        args_of("--mode", "pool", "--mode", "usl", "--param", "workers=7", "--param", "size=3")
    )
    assert pool.settings == {"workers": "7"}
    assert usl.settings == {}
    assert (pool.habits.size, usl.habits.size) == (3, 3)


def test_model_brings_its_habits() -> None:
    (plan,) = plans_of(args_of("--mode", "idle-closing", "--param", "pause_high_s=0.6"))
    assert (plan.habits.pause_share, plan.habits.pause_low_s, plan.habits.pause_high_s) == (0.2, 0.25, 0.6)


def test_depth_follows_the_number_of_pages() -> None:
    """The deepest page is as deep as can be, however many pages are pulled."""
    (plan,) = plans_of(args_of("--mode", "deep-pages", "--pages", "300"))
    assert plan.settings == {"deepest": "300"}


@pytest.mark.parametrize(
    ("window_s", "pages", "seconds"), [(1, 1500, 60.0), (10, 1500, 60.0), (60, 1500, 120.0)]
)
def test_quota_demonstration_fits_its_window(window_s: int, pages: int, seconds: float) -> None:
    """Any window can be shown with no other parameter: enough pages to meet the quota, enough time to end."""
    (plan,) = plans_of(args_of("--mode", "quota", "--param", f"window_s={window_s}"))
    assert (plan.pages, plan.seconds) == (pages, seconds)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--mode", "poll"], "no mode is called 'poll'; there are healthy, pool, collapse,"),
        (["--pages", "0"], "--pages must be from 1 to 1000000, not 0"),
        (["--seconds", "nan"], "--seconds must be more than 0 and at most 3600, not nan"),
        (["--param", "workers"], "--param takes KEY=VALUE, not 'workers'"),
        (["--param", "workers=3"], "'workers' is no parameter of collapse; there are knee, "),
        (["--param", "knee=-1"], "knee must be from 1 to 10000, not -1"),
        (["--param", "size=0"], "size must be from 1 to 10000, not 0"),
        (["--param", "pause_low_s=2"], "pause_low_s must not exceed pause_high_s"),
        (["--json", "/no/such/place/out.json"], "--json: there is no directory /no/such/place"),
        (["--json", "/"], "--json: / is a directory"),
        (["--logs", __file__], f"--logs: {__file__} is not a directory"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one sentence on stderr, nothing started."""
    assert lab.run(args_of(*argv)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"sidegate lab: {told}")
    assert err.count("\n") == 1


def test_list_names_every_model_and_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.run(args_of("--list")) == 0
    told = capsys.readouterr().out
    for name, kind in MODELS.items():
        assert f"\n{name}: " in f"\n{told}"
        assert all(f"    {key}=" in told for key in kind.params())
    assert "    repeat_pause_s=1.0 " in told


def test_cli_default_matches_the_commands() -> None:
    """Said twice so that the parser imports nothing; must stay the same."""
    from proxy.lab import command

    assert lab.DEFAULT_MODE == command.DEFAULT_MODE
