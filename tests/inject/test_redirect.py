"""The rules of capture by redirect: what the variables say, what iptables gets, what stops the pod."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from typing import Any

import pytest

from proxy.inject import redirect
from proxy.inject.options import Plan
from proxy.inject.redirect import Redirect, RedirectError
from tests.inject.pods import URL, env_of, injected, plan, pod

GIVEN = {
    "SIDEGATE_REDIRECT_HOST": "data.example.com",
    "SIDEGATE_REDIRECT_CIDRS": "",
    "SIDEGATE_REDIRECT_PORT": "80",
    "SIDEGATE_REDIRECT_TO": "8880",
    "SIDEGATE_REDIRECT_UID": "8880",
}
READ = Redirect("data.example.com", (), 80, 8880, 8880)
V4, OTHER_V4, V6 = ip_network("192.0.2.1"), ip_network("192.0.2.2"), ip_network("2001:db8::1")


class Kernel:
    """Stands in for iptables: takes rules of the backends it knows, and remembers what it was given."""

    def __init__(self, *works: str, hooked: bool = False) -> None:
        self.works, self.hooked = works, hooked
        self.given: list[tuple[str, str]] = []

    def __call__(self, command: list[str], text: str) -> tuple[int, str]:
        if not command[0].removesuffix("-restore").endswith(self.works or ("none",)):
            return 1, f"{command[0]}: no such table\nin this kernel"
        if "-C" in command:
            return (0 if self.hooked else 1), ""
        self.given.append((command[0], text))
        return 0, ""


class TestReading:
    def test_what_the_injection_sets_is_read(self) -> None:
        problems: list[str] = []
        assert redirect.read(GIVEN, problems) == READ
        assert problems == []

    def test_networks_may_have_host_bits_and_be_of_both_kinds(self) -> None:
        made = redirect.read({**GIVEN, "SIDEGATE_REDIRECT_CIDRS": "192.0.2.7/24 2001:db8::/32"}, [])
        assert made is not None
        assert made.networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))

    def test_every_mistake_is_named_at_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        wrong = {"PORT": "http", "TO": "70000", "UID": "0", "CIDRS": "10.0.0.0/40"}
        given = {**GIVEN, **{f"SIDEGATE_REDIRECT_{name}": text for name, text in wrong.items()}}
        assert redirect.main(given) == 2
        assert capsys.readouterr().err.splitlines() == [
            "SIDEGATE_REDIRECT_CIDRS: '10.0.0.0/40' does not appear to be an IPv4 or IPv6 network",
            "SIDEGATE_REDIRECT_PORT: expected a number from 1 to 65535 (got 'http')",
            "SIDEGATE_REDIRECT_TO: expected a number from 1 to 65535 (got '70000')",
            "SIDEGATE_REDIRECT_UID: expected a number from 1 to 4294967294 (got '0')",
        ]

    def test_an_empty_environment_asks_for_everything(self) -> None:
        problems: list[str] = []
        assert redirect.read({}, problems) is None
        assert [problem.partition(":")[0] for problem in problems] == [
            f"SIDEGATE_REDIRECT_{name}" for name in ("HOST", "PORT", "TO", "UID")
        ]


class TestAddresses:
    def test_all_of_them_each_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [("2001:db8::1", 0, 0, 0), ("192.0.2.2", 0), ("192.0.2.1", 0), ("192.0.2.2", 0)]
        answer = [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", place) for place in found]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
        assert redirect.addresses("data.example.com") == (V4, OTHER_V4, V6)

    def test_a_name_that_comes_late_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers: list[Any] = [socket.gaierror(-3, "Temporary failure"), [(0, 0, 0, "", ("192.0.2.1", 0))]]
        paused: list[float] = []

        def getaddrinfo(*_: object, **__: object) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(redirect, "_pause", paused.append)
        assert redirect.addresses("data.example.com") == (V4,)
        assert paused == [1.0]

    def test_a_name_without_an_answer_stops_the_pod(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def getaddrinfo(*_: object, **__: object) -> Any:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(redirect, "_pause", lambda _: None)
        assert redirect.main(GIVEN) == 1
        said = "upstream data.example.com has no address: Name or service not known (asked for 60 s)\n"
        assert capsys.readouterr().err == said

    def test_an_impossible_name_is_no_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redirect, "_pause", lambda _: None)
        with pytest.raises(RedirectError, match="label"):
            redirect.addresses("a" * 64 + ".example.com")


class TestRules:
    def test_connections_to_the_upstream_turn_to_the_sidecar_but_for_its_own(self) -> None:
        assert redirect.rules(READ, (V4, OTHER_V4, V6), version=4, is_hooked=False).splitlines() == [
            "*nat",
            ":SIDEGATE - [0:0]",
            "-A OUTPUT -p tcp -j SIDEGATE",
            "-A SIDEGATE -m owner --uid-owner 8880 -j RETURN",
            "-A SIDEGATE -p tcp -d 192.0.2.1/32 --dport 80 -j REDIRECT --to-ports 8880",
            "-A SIDEGATE -p tcp -d 192.0.2.2/32 --dport 80 -j REDIRECT --to-ports 8880",
            "COMMIT",
        ]

    def test_ipv6_is_reset_so_that_clients_take_ipv4(self) -> None:
        text = redirect.rules(READ, (V4, V6), version=6, is_hooked=False)
        assert text.startswith("*filter\n")
        assert "-A SIDEGATE -p tcp -d 2001:db8::1/128 --dport 80 -j REJECT --reject-with tcp-reset\n" in text
        assert "192.0.2.1" not in text

    def test_a_second_run_does_not_lead_to_the_chain_twice(self) -> None:
        kernel = Kernel("nft", hooked=True)
        redirect.apply(READ, (V4,), kernel)
        ((_, text),) = kernel.given
        assert "OUTPUT" not in text


class TestApplying:
    def test_ipv6_is_shut_before_ipv4_turns(self) -> None:
        kernel = Kernel("nft")
        assert redirect.apply(READ, (V4, V6), kernel) == "nft"
        assert [program for program, _ in kernel.given] == ["ip6tables-nft-restore", "iptables-nft-restore"]

    def test_an_older_kernel_gets_legacy_iptables(self) -> None:
        kernel = Kernel("legacy")
        assert redirect.apply(READ, (V4,), kernel) == "legacy"
        assert [program for program, _ in kernel.given] == ["iptables-legacy-restore"]

    def test_without_either_both_are_heard(self) -> None:
        with pytest.raises(RedirectError) as caught:
            redirect.apply(READ, (V4,), Kernel())
        assert str(caught.value) == (
            "the rules do not go in: iptables-nft: iptables-nft-restore: no such table in this kernel; "
            "iptables-legacy: iptables-legacy-restore: no such table in this kernel"
        )

    def test_an_upstream_of_ipv6_only_stops_the_pod(self) -> None:
        with pytest.raises(RedirectError, match="has no IPv4 address"):
            redirect.apply(READ, (V6,), Kernel("nft"))

    def test_the_rules_in_force_are_said(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(redirect, "_run", Kernel("nft"))
        monkeypatch.setattr(redirect, "_has_ipv6", lambda: True)
        assert redirect.main({**GIVEN, "SIDEGATE_REDIRECT_CIDRS": "192.0.2.0/24 2001:db8::/32"}) == 0
        assert capsys.readouterr().out.splitlines() == [
            "192.0.2.0/24 port 80: to 127.0.0.1:8880",
            "2001:db8::/32 port 80: reset, the sidecar has no IPv6",
            "in force by iptables-nft, for all users but 8880",
        ]

    def test_a_pod_without_ipv6_needs_no_ip6tables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel = Kernel("nft")
        monkeypatch.setattr(redirect, "_run", kernel)
        monkeypatch.setattr(redirect, "_has_ipv6", lambda: False)
        assert redirect.main({**GIVEN, "SIDEGATE_REDIRECT_CIDRS": "192.0.2.0/24 2001:db8::/32"}) == 0
        assert [program for program, _ in kernel.given] == ["iptables-nft-restore"]


class TestInjection:
    def test_what_the_container_is_told_can_be_read(self) -> None:
        values = {"capture": {"mode": "redirect", "port": 8000, "redirect": {"cidrs": ["192.0.2.0/24"]}}}
        outcome = injected(pod(), plan(**values))
        assert outcome.pod is not None
        environment = env_of(outcome.pod["spec"]["initContainers"][0])
        assert redirect.read(environment, []) == Redirect(
            "data.example.com", (ip_network("192.0.2.0/24"),), 8000, 8880, 8880
        )

    def test_beside_a_plain_sidecar_the_rules_come_when_all_other_starts_are_over(self) -> None:
        """Init containers run before a plain sidecar: rules in front of them sent their calls to a closed port."""
        given = pod(spec={"initContainers": [{"name": "migrate", "image": "m"}]})
        outcome = injected(given, plan(capture={"mode": "redirect"}, kubeVersion="1.28"))
        assert outcome.pod is not None
        names = [c["name"] for c in outcome.pod["spec"]["initContainers"]]
        assert names == ["migrate", "sidegate-redirect"]

    @pytest.mark.parametrize("mode", ["redirect", "hostAliases"])
    def test_a_path_that_the_app_names_itself_is_not_put_before_it_again(self, mode: str) -> None:
        outcome = injected(
            pod(), plan(upstream={"url": "https://data.example.com/api"}, capture={"mode": mode})
        )
        assert outcome.pod is not None
        (made,) = [c for c in outcome.pod["spec"]["initContainers"] if c["name"] == "sidegate"]
        assert env_of(made)["SIDEGATE_UPSTREAM__URL"] == "https://data.example.com"

    @pytest.mark.parametrize("where", ["pod", "container"])
    def test_an_app_that_runs_as_the_sidecars_user_is_refused(self, where: str) -> None:
        user = {"securityContext": {"runAsUser": 8880}}
        app = {"name": "app", "image": "a", **(user if where == "container" else {})}
        given = pod(spec={"containers": [app], **(user if where == "pod" else {})})
        (problem,) = injected(given, plan(capture={"mode": "redirect"})).problems
        assert "container app runs as user 8880" in problem

    def test_an_app_with_a_user_of_its_own_in_such_a_pod_is_not(self) -> None:
        app = {"name": "app", "image": "a", "securityContext": {"runAsUser": 1000}}
        given = pod(spec={"containers": [app], "securityContext": {"runAsUser": 8880}})
        assert injected(given, plan(capture={"mode": "redirect"})).problems == []

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"listen": "[::1]:8880"}, "calls come to 127.0.0.1"),
            ({"runAsUser": None}, "runAsUser: required"),
        ],
    )
    def test_what_the_rules_cannot_work_with_is_refused(self, values: dict[str, Any], said: str) -> None:
        (problem,) = injected(pod(), plan(capture={"mode": "redirect"}, **values)).problems
        assert said in problem

    @pytest.mark.parametrize(
        ("cidrs", "said"),
        [(["10.0.0.0/40"], "does not appear to be"), (["2001:db8::/32"], "one IPv4 network")],
    )
    def test_networks_that_cannot_be_are_refused(self, cidrs: list[str], said: str) -> None:
        (problem,) = Plan({"upstream": {"url": URL}, "capture": {"redirect": {"cidrs": cidrs}}}).problems
        assert problem.startswith("capture.redirect: ")
        assert said in problem
