"""From file, environment and flags to settings: every mistake at once, with path and rule."""

from __future__ import annotations

import pytest

from proxy.config.load import ConfigError, Sources
from proxy.config.redact import redacted
from proxy.config.redis_url import redact_redis_url
from proxy.config.settings import Settings
from proxy.config.units import format_duration, parse_duration, parse_size
from proxy.config.watch import FileWatch

URL = {"SIDEGATE_UPSTREAM__URL": "http://u.example"}


def load(tmp_path, text: str = "", environment: dict[str, str] | None = None, flags=()) -> Settings:  # type: ignore[no-untyped-def]
    path = tmp_path / "sidegate.yaml"
    path.write_text(text)
    return Sources(str(path), environment or {}, flags).load()


def problems(tmp_path, text: str, environment: dict[str, str] | None = None) -> list[str]:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environment)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1m30s", 90),
        ("1.5h", 5400),
        (2, 2.0),
        (0.5, 0.5),
        (" 3s ", 3),
    ],
)
def test_durations_are_what_people_write(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5", "5 s", "-5s", "5x", "5s3", "1e3s", True, None, [], {}, "5sm"])
def test_what_is_no_duration_is_refused_with_the_rule(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("7B", 7), (9, 9), ("9", 9)]
)
def test_sizes_are_what_people_write(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["7" * 12_000, "7" * 12_000 + "s", "1s" * 6000, " " * 12_000 + "1s", 10**5000, "0." + "0" * 99 + "1s"],
    ids=["digits", "unit", "pairs", "blanks", "number", "fraction"],
)
def test_what_is_too_long_is_refused_before_it_is_read(text: str | int) -> None:
    """An app sends durations too: 12,000 digits took seconds."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "64KB", "1.5MiB", "-1", "1 MiB", True, None, 1.5])
def test_what_is_no_size_is_refused_with_the_rule(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.25, 1.0, 59.5, 60.0, 90.0, 300.0, 3600.0])
def test_durations_are_written_as_they_are_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_every_mistake_is_told_at_once_with_path_and_rule(tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = """
    upstrem: {url: "http://a"}
    limits: {rate: -1, burst: many, concurency: 3}
    retry: {on: [500, never], attempts: 0}
    timeouts: {connect: soon, total: 0s}
    listen: nowhere
    """
    told = problems(tmp_path, text, {"SIDEGATE_POOL__MAX_CONNECTIONS": "none"})
    for path in (
        "upstrem", "upstream", "limits.rate", "limits.burst", "limits.concurency", "retry.on[1]", "retry.attempts",
        "timeouts.connect", "timeouts.total", "listen", "pool.max_connections",
    ):  # fmt: skip
        assert any(line.startswith(f"{path}:") for line in told), (path, told)
    assert any("did you mean upstream" in line for line in told)
    assert any("did you mean concurrency" in line for line in told)


@pytest.mark.parametrize(
    "text",
    [
        "upstream: {url: 'ftp://a'}", "upstream: {url: 'http://'}", "upstream: {url: 'http://a?q'}",
        "upstream: {url: 'http://u:p@a'}", "upstream: {url: 'http://a:99999'}", "upstream: {url: 'http://a b'}",
        "upstream: {url: \"http://a\\r\\nX: y\"}", "upstream: {url: 'http://a', tls: {ca_file: x}}",
        "upstream: {url: 'https://a', tls: {client_cert_file: x}}", "[1, 2]", "just words", "a: [", "upstream: [x]",
        "upstream: 5",
        "{upstream: {url: 'http://a'}, limits: {concurrency: {mode: fixed}}}",
        "{upstream: {url: 'http://a'}, limits: {concurrency: {min: 5, max: 2}}}",
        "{upstream: {url: 'http://a'}, routes: [{name: x}, {name: x}]}", "{upstream: {url: 'http://a'}, limits: {rate: .inf}}",
        "{upstream: {url: 'http://a'}, limits: {rate: .nan}}", "{upstream: {url: 'http://127.0.0.1:8880'}}",
        "{upstream: {url: 'http://a'}, retry: {backoff: {base: 2s, max: 1s}}}",
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_a_sentence(tmp_path, text: str) -> None:  # type: ignore[no-untyped-def]
    assert all(problems(tmp_path, text))


def test_flags_beat_environment_and_environment_beats_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = "upstream: {url: 'http://file'}\nlimits: {rate: 1, burst: 1}\nretry: {attempts: 2}"
    environment = {"SIDEGATE_LIMITS__RATE": "2", "SIDEGATE_LIMITS__BURST": "2"}
    settings = load(tmp_path, text, environment, [("limits.rate", "3")])
    assert (settings.limits.rate, settings.limits.burst, settings.retry.attempts) == (3, 2, 2)
    assert settings.upstream.url == "http://file"


def test_variables_of_kubernetes_are_not_settings(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A Service called sidegate puts these into every pod."""
    links = {
        "SIDEGATE_SERVICE_HOST": "10.0.0.1", "SIDEGATE_SERVICE_PORT": "80", "SIDEGATE_SERVICE_PORT_HTTP": "80",
        "SIDEGATE_PORT": "tcp://10.0.0.1:80", "SIDEGATE_PORT_80_TCP": "tcp://10.0.0.1:80", "SIDEGATE_PORT_80_TCP_PROTO": "tcp",
        "SIDEGATE_PORT_80_TCP_PORT": "80", "SIDEGATE_PORT_80_TCP_ADDR": "10.0.0.1", "SIDEGATE_INJECTOR_SERVICE_HOST": "10.0.0.2",
        "SIDEGATE_INJECTOR_PORT_443_TCP_ADDR": "10.0.0.2", "SIDEGATE_POD": "p", "SIDEGATE_NAMESPACE": "n", "SIDEGATE_NODE": "m",
        "SIDEGATE_CONFIG": "/x",
    }  # fmt: skip
    assert load(tmp_path, "", {**URL, **links}) == load(tmp_path, "", URL)


def test_a_misspelt_variable_is_a_mistake(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert any("limit" in line for line in problems(tmp_path, "", {**URL, "SIDEGATE_LIMIT__RATE": "5"}))


@pytest.mark.parametrize("text", ["", " ", "# 5", "&x", "---"])
def test_a_variable_that_says_nothing_is_a_mistake(tmp_path, text: str) -> None:  # type: ignore[no-untyped-def]
    """A template that left it empty took the limit away."""
    (problem,) = problems(tmp_path, "limits: {rate: 5}", {**URL, "SIDEGATE_LIMITS__RATE": text})
    assert problem.startswith("SIDEGATE_LIMITS__RATE: is empty")
    with pytest.raises(ConfigError, match="--set limits: is empty"):
        load(tmp_path, "", URL, [("limits", text)])


@pytest.mark.parametrize("text", ["null", "~", " null "])
def test_a_variable_may_say_null(tmp_path, text: str) -> None:  # type: ignore[no-untyped-def]
    assert load(tmp_path, "limits: {rate: 5}", {**URL, "SIDEGATE_LIMITS__RATE": text}).limits.rate is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("010", "begins with 0"),
        ("1:30", "count of seconds"),
        ("{rate: 1, rate: 2}", "twice"),
        ("[" * 3000, "deep"),
    ],
)
def test_a_variable_is_read_as_strictly_as_the_file(tmp_path, text: str, rule: str) -> None:  # type: ignore[no-untyped-def]
    (problem,) = problems(tmp_path, "", {**URL, "SIDEGATE_LIMITS": text})
    assert problem.startswith("SIDEGATE_LIMITS: line 1: ")
    assert rule in problem


def test_two_variables_for_one_setting_are_a_mistake(tmp_path) -> None:  # type: ignore[no-untyped-def]
    names = {"SIDEGATE_LIMITS__RATE": "5", "SIDEGATE_limits__rate": "500"}
    (problem,) = problems(tmp_path, "", {**URL, **names})
    assert problem == "SIDEGATE_limits__rate: SIDEGATE_LIMITS__RATE sets the same: keep one"


def test_mistakes_of_the_text_name_file_line_and_rule_all_at_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    told = problems(
        tmp_path, "retry: {attempts: 3}\nlimits: {rate: 010, burst: 0}\nretry: {on: [500]}\n", URL
    )
    file = tmp_path / "sidegate.yaml"
    assert [line.partition(" ")[0] for line in told] == [f"{file}:", f"{file}:", "limits.burst:"]
    assert "line 2" in told[0]
    assert "line 3" in told[1]


def test_a_file_without_end_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="more than 1048576 bytes"):
        Sources("/dev/zero", URL).load()


@pytest.mark.parametrize("value", ["", "null", "~"])
def test_an_empty_section_is_the_default(tmp_path, value: str) -> None:  # type: ignore[no-untyped-def]
    text = f"upstream: {{url: 'http://a'}}\nlimits: {value}\nqueue: {value}"
    assert load(tmp_path, text).limits == load(tmp_path, "upstream: {url: 'http://a'}").limits


def test_passwords_are_not_shown(tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings = load(tmp_path, fleet_of("redis://user:hunter2@redis:6379/0"))
    shown = str(redacted(settings))
    assert "hunter2" not in shown
    assert "redis://user:REDACTED@redis:6379/0" in shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@redis:0",
        "redis://:hunter2@a,b",
        "http://user:hunter2@redis",
        "user:hunter2@redis",
        "redis://:hunter2/3@redis",
        "redis://:hunter2?@redis",
        "redis://:x@hunter2@redis:x",
    ],
)
def test_a_refusal_shows_no_password(tmp_path, url: str) -> None:  # type: ignore[no-untyped-def]
    """Also where it is no URL, or the password holds what it may not."""
    (refused,) = problems(tmp_path, fleet_of(url))
    assert refused.startswith("fleet: redis_url: ")
    assert "hunter2" not in refused
    assert "hunter2" not in redact_redis_url(url)


@pytest.mark.parametrize(
    "text",
    [
        "fleet: {redis_url: ['redis://:hunter2@redis']}",
        "fleet: {redis_url: {user: hunter2}}",
        "fleet: redis://:hunter2@redis",
        "fleet: {peers: ['redis://:hunter2@redis']}",
        "fleet: {mode: 'redis://u:hun/ter2@redis'}",
        "upstream: {url: 'http://u:hunter2@a'}",
        "upstream: {url: 'http://u:hunter2/x@a'}",
        "upstream: {url: 'http://u:hunter2@[a'}",
        "upstream: {url: 'http://u:hunter2\u2100@a'}",
        "listen: http://u:hunter2@a",
    ],
)
def test_no_refusal_of_any_setting_shows_a_login(tmp_path, text: str) -> None:  # type: ignore[no-untyped-def]
    told = problems(tmp_path, text, {} if text.startswith("upstream") else URL)
    assert not [line for line in told if "ter2" in line]


def test_a_long_value_is_not_repeated_in_full(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert all(len(line) < 300 for line in problems(tmp_path, f"log: {{level: {'x' * 5000}}}", URL))


def fleet_of(redis_url: str) -> str:
    return f"upstream: {{url: 'http://a'}}\nfleet: {{redis_url: '{redis_url}'}}"


@pytest.mark.parametrize(
    ("fleet", "what"),
    [
        ("{mode: redis}", "fleet: mode redis needs redis_url"),
        ("{redis_url: 'redis://:p@r', redis_password_file: /p}", "take one of them away"),
        ("{redis_url: 'redis://r', redis_ca_file: /ca.pem}", "begins with rediss"),
        ("{redis_url: 'redis://r', redis_sentinel_password_file: /p}", "+sentinel"),
        ("{mode: peers}", "fleet: mode peers needs peers"),
        ("{peers: ['shop-fleet:0']}", "fleet: peers: a port lies between 1 and 65535"),
        ("{peers: ['shop-fleet:65536']}", "fleet: peers: a port lies between 1 and 65535"),
        ("{peers: ['shop-fleet']}", "fleet.peers"),
        ("{mode: local}", "fleet.mode"),
        ("{concurrency: 0}", "fleet.concurrency"),
        ("{rate: 0}", "fleet.rate"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(tmp_path, fleet: str, what: str) -> None:  # type: ignore[no-untyped-def]
    (refused,) = problems(tmp_path, f"upstream: {{url: 'http://a'}}\nfleet: {fleet}")
    assert what in refused


@pytest.mark.parametrize(
    ("fleet", "kind"),
    [
        ("{}", "alone"),
        ("{peers: ['shop-fleet:8881']}", "peers"),
        ("{mode: peers, peers: ['10.0.0.1:8881', '[::1]:8881']}", "peers"),
        ("{mode: alone, peers: ['shop-fleet:8881'], redis_url: 'redis://r'}", "alone"),
        ("{redis_url: 'redis://r'}", "redis"),
        ("{redis_url: 'redis://r', peers: ['shop-fleet:8881']}", "redis"),
        ("{mode: peers, redis_url: 'redis://r', peers: ['shop-fleet:8881']}", "peers"),
    ],
)
def test_pods_meet_in_a_redis_or_by_peers_unless_told_to_be_alone(  # type: ignore[no-untyped-def]
    tmp_path, fleet: str, kind: str
) -> None:
    text = f"upstream: {{url: 'http://a'}}\nfleet: {fleet}"
    made = load(tmp_path, text).fleet
    assert made.kind == kind
    assert made.has_peers is (kind != "alone")


def test_a_changed_file_is_noticed_also_behind_swapped_symlinks(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """As a ConfigMap's update does it: the path stays, the directory behind it changes."""
    for name, text in (("one", "a"), ("two", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(text)
    data = tmp_path / "..data"
    data.symlink_to("one")
    (tmp_path / "f").symlink_to("..data/f")
    watch = FileWatch(str(tmp_path / "f"))
    assert not watch.has_changed()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(data)
    assert watch.has_changed()
    assert not watch.has_changed()
    data.unlink()
    assert not watch.has_changed(), "gone for a moment is not changed"
