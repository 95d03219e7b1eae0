"""The command's body: arguments become plans, plans are run, results are printed."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import fields

from proxy.lab.arms import Plan, run_arm
from proxy.lab.children import ChildError, logs_folder, termination_as_interrupt
from proxy.lab.model import ParamError, parsed
from proxy.lab.models import MODELS, build_model
from proxy.lab.pages import Habits
from proxy.lab.progress import Progress
from proxy.lab.report import Comparison, as_json, purpose, table, title, verdict

DEFAULT_MODE = "collapse"
PAGES_MAX = 1_000_000
SECONDS_MAX = 3600.0
INTERRUPTED = 130
APP_PARAMS = {each.name: each for each in fields(Habits)}


class UsageError(ValueError):
    """The command line asks for something that cannot be; the text is for the user."""


def execute(args: argparse.Namespace) -> int:
    """Do what ``sidegate lab`` was asked to; the exit code."""
    if args.list:
        print(listing())
        return 0
    try:
        plans = plans_of(args)
        _check_paths(args)
    except (UsageError, ParamError) as error:
        print(f"sidegate lab: {error}", file=sys.stderr)
        return 2
    try:
        with termination_as_interrupt():
            return _compare_all(plans, args)
    except ChildError as error:
        print(f"sidegate lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sidegate lab: stopped; every process it started has ended", file=sys.stderr)
        return INTERRUPTED


def plans_of(args: argparse.Namespace) -> list[Plan]:
    """What the arguments ask for; raises UsageError and ParamError."""
    names = _modes(args.mode or [DEFAULT_MODE])
    settings = _settings(args.param, names)
    if args.pages is not None and not 1 <= args.pages <= PAGES_MAX:
        raise UsageError(f"--pages must be from 1 to {PAGES_MAX}, not {args.pages}")
    if args.seconds is not None and not 0 < args.seconds <= SECONDS_MAX:
        raise UsageError(f"--seconds must be more than 0 and at most {SECONDS_MAX:g}, not {args.seconds:g}")
    return [_plan(name, settings, args) for name in names]


def listing() -> str:
    """Every model with its parameters, and the app's."""
    groups = [(f"{name}: {purpose(kind)}", kind.params()) for name, kind in MODELS.items()]
    groups.append(("the app, whatever the model:", APP_PARAMS))
    lines = []
    for heading, params in groups:
        lines.append(heading)
        lines += [
            f"    {k + '=' + str(spec.default).lower():20} {spec.metadata['why']}"
            for k, spec in params.items()
        ]
    return "\n".join(lines)


def _plan(name: str, settings: Mapping[str, str], args: argparse.Namespace) -> Plan:
    kind = MODELS[name]
    own = {key: text for key, text in settings.items() if key in kind.params()}
    if "deepest" in kind.params():
        own.setdefault("deepest", str(args.pages or kind.pages))
    model = build_model(name, seed=args.seed, settings=own)
    pages = args.pages or model.demo_pages()
    seconds = model.demo_seconds() if args.seconds is None else args.seconds
    habits = _habits(kind.habits, settings)
    return Plan(model, own, pages, args.seed, seconds, habits, sidecar_settings=args.set, is_told=args.told)


def _habits(of_model: Mapping[str, float], settings: Mapping[str, str]) -> Habits:
    values = dict(of_model)
    for key, spec in APP_PARAMS.items():
        if key in settings:
            values[key] = parsed(key, settings[key], spec)
    habits = Habits(**values)  # type: ignore[arg-type]
    if habits.pause_low_s > habits.pause_high_s:
        raise UsageError("pause_low_s must not exceed pause_high_s")
    return habits


def _modes(asked: list[str]) -> list[str]:
    for name in asked:
        if name not in MODELS and name != "all":
            raise UsageError(f"no mode is called {name!r}; there are {', '.join(MODELS)}, and all")
    return list(MODELS) if "all" in asked else list(dict.fromkeys(asked))


def _settings(pairs: list[str], names: list[str]) -> dict[str, str]:
    known = {key for name in names for key in MODELS[name].params()} | set(APP_PARAMS)
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--param takes KEY=VALUE, not {pair!r}")
        if key not in known:
            told = ", ".join(sorted(known))
            raise UsageError(f"{key!r} is no parameter of {', '.join(names)}; there are {told}")
        settings[key] = text
    return settings


def _compare_all(plans: list[Plan], args: argparse.Namespace) -> int:
    comparisons = []
    for plan in plans:
        comparison = _compare(plan, args)
        comparisons.append(comparison)
        print(f"{title(plan)}\n\n{table(comparison.arms)}\n\n{verdict(comparison)}\n", flush=True)
        if args.json is not None:
            told = {"comparisons": [as_json(each) for each in comparisons]}
            args.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if all(each.is_fine for each in comparisons) else 1


def _compare(plan: Plan, args: argparse.Namespace) -> Comparison:
    progress = Progress(sys.stderr)
    comparison = Comparison(plan, [])
    try:
        for arm in ("direct",) if args.direct_only else ("direct", "sidegate"):
            with logs_folder(args.logs, f"{plan.model.name}-{arm}") as logs:
                comparison.arms.append(run_arm(plan, arm, logs=logs, progress=progress))
    finally:
        progress.clear()
    return comparison


def _check_paths(args: argparse.Namespace) -> None:
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise UsageError(f"--json: there is no directory {args.json.absolute().parent}")
    if args.json is not None and args.json.is_dir():
        raise UsageError(f"--json: {args.json} is a directory")
    if args.logs is not None and args.logs.exists() and not args.logs.is_dir():
        raise UsageError(f"--logs: {args.logs} is not a directory")
