"""What becomes of the variables an app has already, and of names that stand for loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.inject.pods import env_of, injected, plan, pod, sidecar

OURS = "http://127.0.0.1:8880"
CORP = "http://corp.example:3128"


def env_after(env: list[dict[str, Any]], by: Any = None, **spec: Any) -> dict[str, Any]:
    outcome = injected(pod(spec={"containers": [{"name": "app", "env": env}], **spec}), by)
    assert outcome.pod is not None, outcome
    return env_of(outcome.pod["spec"]["containers"][0])


def var(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value}


SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}


class TestProxyVariables:
    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
    def test_an_apps_own_proxy_stays_in_every_spelling_but_for_the_sidecar(self, name: str) -> None:
        """The other spelling was set to the sidecar, and curl reads only that one."""
        env = env_after([var(name, CORP)])
        assert {key: env[key] for key in env if key.lower() in ("http_proxy", "all_proxy")} == {name: CORP}
        assert (env["NO_PROXY"], env["no_proxy"]) == ("127.0.0.1", "127.0.0.1")

    def test_a_spelling_that_is_added_says_what_the_other_says(self) -> None:
        """Go reads NO_PROXY first and would have lost what no_proxy says."""
        env = env_after([var("no_proxy", "corp.example")])
        assert env["NO_PROXY"] == env["no_proxy"]
        assert env["NO_PROXY"].startswith("corp.example,localhost,")

    def test_a_star_stays_alone(self) -> None:
        """Python knows it only where nothing stands beside it."""
        assert env_after([var("NO_PROXY", "*")])["NO_PROXY"] == "*"

    def test_null_is_nothing(self) -> None:
        env = env_after([{"name": "NO_PROXY", "value": None, "valueFrom": None}])
        assert env["NO_PROXY"].startswith("localhost,")

    def test_what_only_the_node_knows_stays_and_is_said(self) -> None:
        app = {"name": "app", "env": [{"name": "NO_PROXY", "valueFrom": SECRET}]}
        outcome = injected(pod(spec={"containers": [app]}))
        assert outcome.pod is not None
        env = env_of(outcome.pod["spec"]["containers"][0])
        assert env["NO_PROXY"] == SECRET
        assert "no_proxy" not in env
        assert outcome.warnings == [
            "container app: NO_PROXY comes from elsewhere and stays: it has to name 127.0.0.1"
        ]

    def test_metadata_servers_are_spared(self) -> None:
        """Clients of clouds ask them for credentials over plain HTTP."""
        spared = env_after([])["NO_PROXY"].split(",")
        assert {"169.254.169.254", "metadata.google.internal"} <= set(spared)


class TestBaseUrls:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("http://data.example.com/api", OURS),
            ("http://data.example.com/api/", f"{OURS}/"),
            ("https://data.example.com/api/v2", f"{OURS}/v2"),
            ("http://data.example.com/apis", OURS),
            ("http://other.example.com/api/v2", OURS),
            ("data.example.com/api/v2", OURS),
            ("http://[::1", OURS),
            ("https://Data.example.com:443/api/v2?key=1", f"{OURS}/v2?key=1"),
            ("http://data.example.com:8080/api/v2", OURS),
            ("https://user:pw@data.example.com/api/v2", "http://user:pw@127.0.0.1:8880/v2"),
        ],
    )
    def test_what_lies_behind_the_upstreams_url_stays(self, given: str, expected: str) -> None:
        assert (
            env_after([var("DATA_URL", given)], plan(capture={"baseUrlVars": ["DATA_URL"]}))["DATA_URL"]
            == expected
        )

    @pytest.mark.parametrize(
        ("given", "is_said"),
        [
            ("http://data.example.com/api/v2", False),
            ("http://data.example.com", True),
            ("http://b.example", True),
        ],
    )
    def test_one_that_does_not_lie_below_the_upstreams_is_named(self, given: str, is_said: bool) -> None:
        """The sidecar puts the path of upstream.url before every target: an app that has it too asks for it twice."""
        app = {"name": "app", "env": [var("DATA_URL", given)]}
        outcome = injected(pod(spec={"containers": [app]}), plan(capture={"baseUrlVars": ["DATA_URL"]}))
        assert (
            any(f"DATA_URL was {given}, which does not lie below" in said for said in outcome.warnings)
            is is_said
        )

    def test_a_password_is_not_said(self) -> None:
        app = {"name": "app", "env": [var("DATA_URL", "http://user:pw@b.example/")]}
        (said,) = injected(
            pod(spec={"containers": [app]}), plan(capture={"baseUrlVars": ["DATA_URL"]})
        ).warnings
        assert "DATA_URL was http://b.example/" in said

    def test_ours_come_first_so_that_others_may_refer_to_them(self) -> None:
        """Kubernetes puts in for $(NAME) only what stands above."""
        env = env_after([var("SEARCH_URL", "$(SIDEGATE_URL)/search")])
        assert list(env)[:2] == ["SIDEGATE_URL", "SEARCH_URL"]


def test_init_containers_before_a_plain_sidecar_are_left_alone() -> None:
    """There is nothing at 127.0.0.1 while they run: a migration that calls the upstream never ended."""
    given = pod(
        spec={
            "initContainers": [{"name": "migrate", "env": [var("DATA_URL", "http://data.example.com/api")]}]
        }
    )
    by = {"capture": {"baseUrlVars": ["DATA_URL"]}}
    classic, native = (injected(given, plan(kubeVersion=version, **by)).pod for version in ("1.28", "1.29"))
    assert classic is not None
    assert native is not None
    assert classic["spec"]["initContainers"] == given["spec"]["initContainers"]
    assert env_of(native["spec"]["initContainers"][1])["DATA_URL"] == OURS


def test_an_address_of_its_own_family_is_what_the_app_calls() -> None:
    env = env_after([], plan(listen="[::1]:9000", capture={"httpProxy": False}))
    assert env == {"SIDEGATE_URL": "http://[::1]:9000"}


class TestHostAliases:
    @pytest.mark.parametrize("mode", ["hostAliases", "redirect"])
    def test_an_apps_own_proxy_is_not_for_the_upstream(self, mode: str) -> None:
        """It carried the calls past the sidecar."""
        env = env_after([var("https_proxy", CORP), var("http_proxy", CORP)], plan(capture={"mode": mode}))
        assert env == {
            "https_proxy": CORP,
            "http_proxy": CORP,
            "NO_PROXY": "data.example.com",
            "no_proxy": "data.example.com",
        }
        assert env_after([], plan(capture={"mode": mode})) == {}

    @pytest.mark.parametrize("values", [{}, {"runAsUser": None}])
    def test_a_low_port_needs_the_sysctl_whoever_the_user_is(self, values: dict[str, Any]) -> None:
        """OpenShift picks the user, but never root."""
        outcome = injected(pod(), plan(capture={"mode": "hostAliases"}, **values))
        assert outcome.pod is not None
        assert outcome.pod["spec"]["securityContext"]["sysctls"][0]["value"] == "0"

    @pytest.mark.parametrize(
        ("value", "is_refused"), [("0", False), ("80", False), ("81", True), ("1024", True)]
    )
    def test_a_pod_that_keeps_low_ports_to_itself_is_refused(self, value: str, is_refused: bool) -> None:
        sysctls = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": value}]
        outcome = injected(
            pod(spec={"securityContext": {"sysctls": sysctls}}), plan(capture={"mode": "hostAliases"})
        )
        assert bool(outcome.problems) is is_refused
        assert all("keeps the sidecar from port 80" in problem for problem in outcome.problems)

    def test_init_containers_before_a_plain_sidecar_are_warned_of(self) -> None:
        given = pod(spec={"initContainers": [{"name": "migrate"}]})
        outcome = injected(given, plan(kubeVersion="1.28", capture={"mode": "hostAliases"}))
        assert "their calls fail before Kubernetes 1.29" in outcome.warnings[0]

    @pytest.mark.parametrize(
        ("host", "names"),
        [
            ("data.example.com", ["data.example.com"]),
            ("data.example.com.", ["data.example.com"]),
            ("stock", ["stock"]),
            (
                "stock.shop.svc",
                ["stock.shop.svc", "stock.shop", "stock.shop.svc.cluster.local"],
            ),
            (
                "stock.shop.svc.cluster.local.",
                ["stock.shop.svc.cluster.local", "stock.shop", "stock.shop.svc"],
            ),
        ],
    )
    def test_each_name_of_the_upstream_is_on_loopback(self, host: str, names: list[str]) -> None:
        """But not a Service's without its namespace: here it may be that of another one."""
        by = plan(upstream={"url": f"http://{host}:8080"}, capture={"mode": "hostAliases"})
        outcome = injected(pod(), by)
        assert outcome.pod is not None, outcome
        assert outcome.pod["spec"]["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": names}]

    def test_a_name_that_the_pod_has_an_alias_for_keeps_it(self) -> None:
        """What is no name among them is the API server's to refuse; it stopped us once."""
        given = pod(spec={"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["stock.shop", []]}]})
        by = plan(upstream={"url": "http://stock.shop.svc:8080"}, capture={"mode": "hostAliases"})
        outcome = injected(given, by)
        assert outcome.pod is not None, outcome
        names = ["stock.shop.svc", "stock.shop.svc.cluster.local"]
        assert outcome.pod["spec"]["hostAliases"][1] == {"ip": "127.0.0.1", "hostnames": names}

    @pytest.mark.parametrize("mode", ["hostAliases", "redirect"])
    @pytest.mark.parametrize(
        ("upstream", "names"),
        [
            ({"url": "https://Data.example.com:8443/api"}, ["data.example.com"]),
            ({"url": "http://data.svc.example.com"}, ["data.svc.example.com"]),
            ({"url": "http://stock.shop"}, ["stock.shop"]),
            (
                {"url": "http://stock.shop.svc"},
                [
                    "stock.shop.svc",
                    "stock",
                    "stock.shop",
                    "stock.shop.svc.cluster.local",
                ],
            ),
            (
                {"url": "http://stock.shop.svc.corp.internal"},
                [
                    "stock.shop.svc.corp.internal",
                    "stock",
                    "stock.shop",
                    "stock.shop.svc",
                    "stock.shop.svc.cluster.local",
                ],
            ),
            ({"url": "http://data.example.com", "host_header": "preserve"}, None),
        ],
    )
    def test_the_sidecar_knows_which_names_are_the_upstreams(
        self, mode: str, upstream: dict[str, Any], names: list[str] | None
    ) -> None:
        """Calls for other sites at the same address came to the upstream with its own Host, and got its pages."""
        said = env_of(sidecar(injected(pod(), plan(upstream=upstream, capture={"mode": mode}))))
        given = said.get("SIDEGATE_DOWNSTREAM__HOSTS")
        assert (given and json.loads(given)) == names

    def test_an_upstream_without_a_name_takes_any(self) -> None:
        made = injected(pod(), plan(upstream={"url": "http://192.0.2.7"}, capture={"mode": "redirect"}))
        assert "SIDEGATE_DOWNSTREAM__HOSTS" not in env_of(sidecar(made))

    @pytest.mark.parametrize("mode", ["env", "none"])
    def test_an_app_that_calls_the_sidecar_by_its_address_may_send_any_host(self, mode: str) -> None:
        assert "SIDEGATE_DOWNSTREAM__HOSTS" not in env_of(
            sidecar(injected(pod(), plan(capture={"mode": mode})))
        )

    def test_names_that_the_operator_gives_stay(self) -> None:
        by = plan(capture={"mode": "redirect"}, downstream={"hosts": ["a.example"]})
        assert "SIDEGATE_DOWNSTREAM__HOSTS" not in env_of(sidecar(injected(pod(), by)))
        given = pod(metadata={"annotations": {"sidegate.dev/downstream.hosts": "[b.example]"}})
        said = env_of(sidecar(injected(given, plan(capture={"mode": "redirect"}))))
        assert said["SIDEGATE_DOWNSTREAM__HOSTS"] == "[b.example]"

    @pytest.mark.parametrize(
        ("url", "port", "expected"),
        [
            ("http://data.example.com:8080/api", None, 8080),
            ("http://data.example.com", None, 80),
            ("https://data.example.com:8443", None, 80),
            ("http://data.example.com:8080", 81, 81),
        ],
    )
    def test_the_port_the_app_calls_is_that_of_the_upstreams_url(
        self, url: str, port: int | None, expected: int
    ) -> None:
        """It was 80 whatever the URL said, and an app that called the URL went past the sidecar."""
        values = {"upstream": {"url": url}}
        aliased = injected(pod(), plan(**values, capture={"mode": "hostAliases", "port": port}))
        assert env_of(sidecar(aliased))["SIDEGATE_LISTEN"] == f"127.0.0.1:{expected}"
        redirected = injected(pod(), plan(**values, capture={"mode": "redirect", "port": port}))
        assert redirected.pod is not None
        first = redirected.pod["spec"]["initContainers"][0]
        assert env_of(first)["SIDEGATE_REDIRECT_PORT"] == str(expected)

    def test_a_name_that_no_alias_can_hold_is_refused(self) -> None:
        by = plan(upstream={"url": "http://my_host"}, capture={"mode": "hostAliases"})
        assert injected(pod(), by).problems == [
            "capture.mode hostAliases: upstream.url names my_host; it needs a DNS name"
        ]
