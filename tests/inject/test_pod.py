"""A pod in, a pod with its sidecar out; or why not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from proxy.config.load import Sources
from proxy.config.yaml12 import read_yaml
from proxy.inject.eligible import Skip
from proxy.inject.options import Plan
from tests.inject.pods import URL, env_of, injected, plan, pod, sidecar

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What Pod Security "restricted" asks of a container."""


def test_a_native_sidecar_is_the_first_init_container_and_keeps_running() -> None:
    outcome = injected(pod(spec={"initContainers": [{"name": "migrate", "image": "m"}]}))
    assert outcome.pod is not None
    assert [c["name"] for c in outcome.pod["spec"]["initContainers"]] == ["sidegate", "migrate"]
    made = sidecar(outcome)
    assert made["restartPolicy"] == "Always"
    assert made["startupProbe"]["httpGet"]["path"] == "/startupz"
    assert "lifecycle" not in made


@pytest.mark.parametrize(
    ("values", "is_native"),
    [
        ({"kubeVersion": "1.29"}, True),
        ({"kubeVersion": "v1.36.1-gke.100"}, True),
        ({"kubeVersion": "1.28"}, False),
        ({"kubeVersion": "v1.20.2"}, False),
        ({"kubeVersion": "1.28", "nativeSidecar": "always"}, True),
        ({"kubeVersion": "1.33", "nativeSidecar": "never"}, False),
    ],
)
def test_the_form_follows_the_server(values: dict[str, str], is_native: bool) -> None:
    assert ("restartPolicy" in sidecar(injected(pod(), plan(**values)))) is is_native


def test_a_plain_container_comes_first_holds_the_others_back_and_outlasts_them() -> None:
    outcome = injected(pod(), plan(kubeVersion="1.28"))
    assert outcome.pod is not None
    assert [c["name"] for c in outcome.pod["spec"]["containers"]] == ["sidegate", "app"]
    hooks = sidecar(outcome)["lifecycle"]
    assert hooks["postStart"]["exec"]["command"][-2:] == ["ready", "http://127.0.0.1:8881/startupz"]
    assert hooks["preStop"]["exec"]["command"][-2:] == ["linger", "5s"]
    assert outcome.pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "app"


def test_a_plain_sidecar_of_a_job_can_be_shut_down_and_says_so() -> None:
    outcome = injected(pod(spec={"restartPolicy": "Never"}), plan(kubeVersion="1.28"))
    assert env_of(sidecar(outcome))["SIDEGATE_ALLOW_SHUTDOWN"] == "true"
    assert "POST http://127.0.0.1:8882/shutdown" in outcome.warnings[0]
    assert injected(pod(spec={"restartPolicy": "Never"})).warnings == []


def test_it_fits_pod_security_restricted_and_writes_nowhere() -> None:
    context = sidecar(injected(pod()))["securityContext"]
    assert context.items() >= RESTRICTED.items()
    assert context["readOnlyRootFilesystem"] is True
    assert context["runAsUser"] == 8880
    assert "runAsUser" not in sidecar(injected(pod(), plan(runAsUser=None)))["securityContext"]


def test_the_sidecar_knows_who_it_is() -> None:
    env = env_of(sidecar(injected(pod())))
    assert {
        name: env[name]["fieldRef"]["fieldPath"]
        for name in ("SIDEGATE_POD", "SIDEGATE_NAMESPACE", "SIDEGATE_NODE")
    } == {
        "SIDEGATE_POD": "metadata.name",
        "SIDEGATE_NAMESPACE": "metadata.namespace",
        "SIDEGATE_NODE": "spec.nodeName",
    }


def test_the_configuration_is_a_file_the_product_reads() -> None:
    """Without a ConfigMap in the namespace it travels in an annotation, which the pod sees as a file."""
    by = plan(limits={"rate": 50}, services={"orders": {"limits": {"burst": 5}}})
    outcome = injected(pod(), by)
    assert outcome.pod is not None
    tree = read_yaml(outcome.pod["metadata"]["annotations"]["sidegate.dev/config"])
    assert tree == {"upstream": {"url": URL}, "limits": {"rate": 50, "burst": 5}}
    (volume,) = outcome.pod["spec"]["volumes"]
    assert volume["downwardAPI"]["items"][0]["path"] == "orders.yaml"
    assert env_of(sidecar(outcome))["SIDEGATE_CONFIG"] == "/etc/sidegate/orders.yaml"


@pytest.mark.parametrize(
    ("namespaces", "is_mounted"), [(["shop"], True), (["*"], True), (["other"], False), ([], False)]
)
def test_where_there_is_a_config_map_it_is_mounted(namespaces: list[str], is_mounted: bool) -> None:
    outcome = injected(pod(), plan(configMap="sidegate", configMapNamespaces=namespaces))
    assert outcome.pod is not None
    (volume,) = outcome.pod["spec"]["volumes"]
    assert ("configMap" in volume) is is_mounted
    assert ("sidegate.dev/config" in outcome.pod["metadata"]["annotations"]) is not is_mounted


def test_annotations_override_by_environment_and_are_what_the_product_would_read() -> None:
    texts = {"limits.rate": "20", "retry.on": "[500, connect]", "timeouts.total": "10m"}
    outcome = injected(pod(metadata={"annotations": {f"sidegate.dev/{k}": v for k, v in texts.items()}}))
    env = {
        name: text
        for name, text in env_of(sidecar(outcome)).items()
        if isinstance(text, str) and name != "SIDEGATE_CONFIG"
    }
    settings = Sources(None, {**env, "SIDEGATE_UPSTREAM__URL": URL}).load()
    assert settings.limits.rate == 20.0
    assert settings.retry.on == (500, "connect")
    assert settings.timeouts.total == 600.0


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("limits.rat", "20", "sidegate.dev/limits.rat: unknown key; did you mean rate?"),
        ("limits.rate", "fast", "sidegate.dev/limits.rate: "),
        ("limits.rate", "-1", "sidegate.dev/limits.rate: "),
        ("timeouts.total", "soon", "sidegate.dev/timeouts.total: "),
        ("limits.concurrency.mode", "fixed", "mode fixed needs a limit"),
        ("capture.mode", "magic", "expected one of env, hostAliases, redirect, none"),
        ("retry.on", "[500", "sidegate.dev/retry.on: not YAML"),
        ("resources.limits.memory", "lots", "expected a Kubernetes quantity"),
        ("nonsense", "1", "sidegate.dev/nonsense: unknown key"),
    ],
)
def test_a_bad_annotation_refuses_the_pod_with_path_and_rule(path: str, text: str, said: str) -> None:
    outcome = injected(pod(metadata={"annotations": {f"sidegate.dev/{path}": text}}))
    assert outcome.pod is None
    assert any(said in problem for problem in outcome.problems), outcome.problems


def test_every_mistake_is_named() -> None:
    outcome = injected(
        pod(metadata={"annotations": {"sidegate.dev/limits.rat": "1", "sidegate.dev/queue.max_wait": "x"}})
    )
    assert len(outcome.problems) == 2


YES, NO = {"sidegate.dev/inject": "true"}, {"sidegate.dev/inject": "false"}


@pytest.mark.parametrize(
    ("given", "around", "why"),
    [
        (pod(), {"is_namespace_asking": False}, Skip.NOT_ASKED),
        (pod(metadata={"labels": NO}), {}, Skip.OPTED_OUT),
        (pod(metadata={"annotations": NO}), {}, Skip.OPTED_OUT),
        (pod(metadata={"labels": NO, "annotations": YES}), {}, Skip.OPTED_OUT),
        (pod(), {"namespace": "kube-system"}, Skip.KUBE_NAMESPACE),
        (pod(metadata={"namespace": "kube-system"}), {}, Skip.KUBE_NAMESPACE),
        (pod(spec={"hostNetwork": True}), {}, Skip.HOST_NETWORK),
        (pod(spec={"os": {"name": "windows"}}), {}, Skip.WINDOWS),
        (pod(spec={"nodeSelector": {"kubernetes.io/os": "windows"}}), {}, Skip.WINDOWS),
        (pod(spec={"containers": [{"name": "sidegate", "image": "x"}]}), {}, Skip.ALREADY),
        (pod(spec={"initContainers": [{"name": "sidegate", "image": "x"}]}), {}, Skip.ALREADY),
        (pod(metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}), {}, Skip.MIRROR),
        (
            pod(
                metadata={
                    "labels": {
                        "app.kubernetes.io/name": "sidegate",
                        "app.kubernetes.io/component": "injector",
                    }
                }
            ),
            {},
            Skip.OWN,
        ),
        (pod(metadata={"labels": YES}), {"is_namespace_asking": False}, None),
        (pod(metadata={"annotations": YES}), {"is_namespace_asking": False}, None),
        (pod(), {}, None),
    ],
)
def test_who_gets_a_sidecar(given: dict[str, Any], around: dict[str, Any], why: Skip | None) -> None:
    outcome = injected(given, **around)
    assert outcome.skip is why
    assert (outcome.pod is None) is (why is not None)


def test_injecting_twice_changes_nothing_and_the_given_pod_is_not_touched() -> None:
    given = pod()
    before = copy.deepcopy(given)
    once = injected(given)
    assert given == before
    assert once.pod is not None
    assert injected(once.pod).skip is Skip.ALREADY


def test_a_service_has_settings_of_its_own_by_annotation_or_label() -> None:
    by = plan(services={"orders": {"resources": {"requests": {"cpu": "1"}}}, "slow": {"limits": {"rate": 1}}})
    made = sidecar(injected(pod(), by))
    assert made["resources"]["requests"] == {"cpu": "1", "memory": "64Mi"}
    outcome = injected(pod(metadata={"annotations": {"sidegate.dev/service": "slow"}}), by)
    assert env_of(sidecar(outcome))["SIDEGATE_CONFIG"] == "/etc/sidegate/slow.yaml"


def test_a_wrong_service_is_the_operators_mistake_and_named_at_the_start() -> None:
    made = Plan({"upstream": {"url": URL}, "services": {"orders": {"limits": {"rat": 1}}, "stock": 3}})
    assert made.problems == [
        "services.orders.limits.rat: unknown key; did you mean rate?",
        "services.stock: expected a section with keys (got 3)",
    ]


@pytest.mark.parametrize(
    ("grace_s", "is_native", "drain"),
    [(None, True, None), (30, True, None), (10, True, "5s"), (None, False, "20s")],
)
def test_the_sidecar_ends_within_the_pods_grace_period(
    grace_s: int | None, is_native: bool, drain: str | None
) -> None:
    spec = {} if grace_s is None else {"terminationGracePeriodSeconds": grace_s}
    outcome = injected(pod(spec=spec), plan(kubeVersion="1.30" if is_native else "1.20"))
    assert env_of(sidecar(outcome)).get("SIDEGATE_DRAIN__GRACE") == drain


@pytest.mark.parametrize(
    ("grace_s", "linger", "drain"),
    [(None, "5s", "20s"), (60, "5s", None), (8, "4s", "1s"), (1, "0.5s", "1s"), (0, None, "1s")],
)
def test_a_plain_sidecar_lingers_half_of_the_grace_period_at_most(
    grace_s: int | None, linger: str | None, drain: str | None
) -> None:
    """It lingered through a short one, and was killed before it heard of the end."""
    spec = {} if grace_s is None else {"terminationGracePeriodSeconds": grace_s}
    made = sidecar(injected(pod(spec=spec), plan(kubeVersion="1.28")))
    hook = made["lifecycle"].get("preStop")
    assert (hook and hook["exec"]["command"][-1]) == linger
    assert env_of(made).get("SIDEGATE_DRAIN__GRACE") == drain


def test_whose_times_do_not_go_together_is_told() -> None:
    asks = {"sidegate.dev/drain.grace": "2m", "sidegate.dev/queue.max_wait": "10m"}
    outcome = injected(pod(metadata={"annotations": asks}))
    assert outcome.warnings == [
        "drain.grace is 30s in this pod and not 2m, for its containers have 30s to end (terminationGracePeriodSeconds)",
        "queue.max_wait: 10m is never reached, for timeouts.total is 5m",
    ]
    assert env_of(sidecar(outcome))["SIDEGATE_DRAIN__GRACE"] == "30s"
    spec = {"terminationGracePeriodSeconds": 125}
    assert (
        injected(
            pod(metadata={"annotations": {**asks, "sidegate.dev/queue.max_wait": "4m"}}, spec=spec)
        ).warnings
        == []
    )


def test_who_has_set_no_grace_is_not_told_of_it() -> None:
    asks = {"sidegate.dev/drain.quiet": "2s"}
    outcome = injected(pod(metadata={"annotations": asks}, spec={"terminationGracePeriodSeconds": 10}))
    assert env_of(sidecar(outcome))["SIDEGATE_DRAIN__GRACE"] == "5s"
    assert outcome.warnings == []


@pytest.mark.parametrize("given", [True, "30", 10**400, -1, None])
def test_a_grace_period_that_cannot_be_is_not_stumbled_over(given: Any) -> None:
    assert injected(pod(spec={"terminationGracePeriodSeconds": given})).pod is not None


def test_a_restart_policy_of_null_is_none() -> None:
    assert injected(pod(spec={"restartPolicy": None}), plan(kubeVersion="1.28")).warnings == []


EQUAL = {"limits": {"cpu": "1", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("resources", "by", "is_warned"),
    [
        (EQUAL, {}, True),
        ({**EQUAL, "requests": {"cpu": "500m", "memory": "1Gi"}}, {}, False),
        ({}, {}, False),
        (None, {}, False),
        (
            EQUAL,
            {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
            False,
        ),
    ],
)
def test_a_guaranteed_pod_that_no_longer_is_one_is_warned_of(
    resources: Any, by: dict[str, Any], is_warned: bool
) -> None:
    """A pinned CPU is lost with the class."""
    outcome = injected(
        pod(spec={"containers": [{"name": "app", "resources": resources}]}), plan(resources=by)
    )
    assert any("QoS class was Guaranteed" in said for said in outcome.warnings) is is_warned


@pytest.mark.parametrize(
    ("memory", "limit", "is_refused"),
    [
        ("64Mi", "64Mi", False),
        ("1Gi", "1000M", True),
        ("0.5Gi", "512Mi", False),
        ("100", "1k", False),
        ("64Mi", None, False),
    ],
)
def test_more_is_not_requested_than_the_limit(memory: str, limit: str | None, is_refused: bool) -> None:
    """The API server would refuse every pod."""
    made = Plan(
        {"upstream": {"url": URL}, "resources": {"requests": {"memory": memory}, "limits": {"memory": limit}}}
    )
    said = [f"resources: requests.memory {memory} may not exceed limits.memory {limit}"]
    assert made.problems == (said if is_refused else [])


@pytest.mark.parametrize(("port", "key"), [(8880, "listen"), (8881, "ops"), (8882, "admin")])
def test_a_port_that_the_app_has_already_is_refused(port: int, key: str) -> None:
    given = pod(spec={"containers": [{"name": "app", "ports": [{"containerPort": port}]}]})
    assert f"which is sidegate's {key}: set sidegate.dev/{key} to another" in injected(given).problems[0]


class TestCapture:
    def test_env_points_base_urls_and_the_proxy_variables_at_the_sidecar(self) -> None:
        app = {
            "name": "app",
            "env": [{"name": "DATA_URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        }
        outcome = injected(
            pod(spec={"containers": [app]}), plan(capture={"baseUrlVars": ["DATA_URL", "OTHER_URL"]})
        )
        assert outcome.pod is not None
        env = env_of(outcome.pod["spec"]["containers"][0])
        for name in ("SIDEGATE_URL", "DATA_URL", "OTHER_URL", "HTTP_PROXY", "http_proxy"):
            assert env[name] == "http://127.0.0.1:8880"
        assert "127.0.0.1" in env["NO_PROXY"].split(",")
        assert "HTTPS_PROXY" not in env

    def test_what_the_app_spares_already_is_still_spared_and_a_proxy_it_has_stays(self) -> None:
        app = {
            "name": "app",
            "env": [
                {"name": "NO_PROXY", "value": "corp.example"},
                {"name": "HTTP_PROXY", "value": "http://corp:3128"},
            ],
        }
        outcome = injected(pod(spec={"containers": [app]}))
        assert outcome.pod is not None
        env = env_of(outcome.pod["spec"]["containers"][0])
        assert env["NO_PROXY"] == "corp.example,127.0.0.1"
        assert env["HTTP_PROXY"] == "http://corp:3128"

    def test_the_sidecar_itself_gets_none_of_it(self) -> None:
        assert "HTTP_PROXY" not in env_of(sidecar(injected(pod())))

    def test_host_aliases_point_the_upstreams_name_at_loopback_and_the_sidecar_looks_past_them(self) -> None:
        outcome = injected(pod(), plan(capture={"mode": "hostAliases"}, kubeVersion="1.30"))
        assert outcome.pod is not None
        spec = outcome.pod["spec"]
        assert spec["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": ["data.example.com"]}]
        assert spec["securityContext"]["sysctls"] == [
            {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
        ]
        env = env_of(sidecar(outcome))
        assert env["SIDEGATE_LISTEN"] == "127.0.0.1:80"
        assert env["SIDEGATE_UPSTREAM__DNS__HOSTS_FILE"] == "false"

    @pytest.mark.parametrize(
        ("values", "given", "said"),
        [
            ({"upstream": {"url": "http://10.0.0.7"}}, pod(), "it needs a DNS name"),
            ({"kubeVersion": "1.20"}, pod(), "set capture.port to 1024 or more"),
            (
                {},
                pod(spec={"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["data.example.com"]}]}),
                "has a host alias",
            ),
        ],
    )
    def test_host_aliases_that_cannot_work_are_refused(
        self, values: dict[str, Any], given: dict[str, Any], said: str
    ) -> None:
        (problem,) = injected(given, plan(**{"capture": {"mode": "hostAliases"}, **values})).problems
        assert said in problem

    def test_redirect_has_the_only_container_with_a_privilege_and_it_comes_first(self) -> None:
        outcome = injected(pod(), plan(capture={"mode": "redirect"}))
        assert outcome.pod is not None
        first, second = outcome.pod["spec"]["initContainers"]
        assert (first["name"], second["name"]) == ("sidegate-redirect", "sidegate")
        assert first["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
        assert env_of(first)["SIDEGATE_REDIRECT_UID"] == str(second["securityContext"]["runAsUser"])

    def test_none_changes_nothing_of_the_app(self) -> None:
        given = pod()
        outcome = injected(given, plan(capture={"mode": "none"}))
        assert outcome.pod is not None
        assert outcome.pod["spec"]["containers"] == given["spec"]["containers"]


def test_the_status_says_what_was_done() -> None:
    outcome = injected(pod(), plan(services={"orders": {}}))
    assert outcome.pod is not None
    assert yaml.safe_load(outcome.pod["metadata"]["annotations"]["sidegate.dev/status"]) == {
        "version": "1.2.3",
        "mode": "native",
        "capture": "env",
        "config": "annotation",
        "service": "orders",
    }


def test_scrape_annotations_are_set_unless_the_pod_has_its_own() -> None:
    outcome = injected(
        pod(metadata={"annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9"}})
    )
    assert outcome.pod is not None
    assert outcome.pod["metadata"]["annotations"]["prometheus.io/port"] == "9"
    outcome = injected(pod(metadata={"annotations": {"prometheus.io/port": "9"}}))
    assert outcome.pod is not None
    assert {k: v for k, v in outcome.pod["metadata"]["annotations"].items() if "prometheus" in k} == {
        "prometheus.io/port": "9"
    }


class TestFiles:
    """What ``upstream.tls`` names has to be in the sidecar's container, and was nowhere in it."""

    VALUES: dict[str, Any] = {
        "upstream": {"url": "https://data.example.com", "tls": {"ca_file": "/etc/authority/ca.crt"}},
        "volumes": [{"name": "authority", "configMap": {"name": "authority"}}],
        "volumeMounts": [{"name": "authority", "mountPath": "/etc/authority"}],
    }

    def test_they_are_mounted_in_the_sidecar_alone(self) -> None:
        outcome = injected(pod(), plan(**self.VALUES))
        assert outcome.pod is not None
        assert outcome.pod["spec"]["volumes"][1:] == self.VALUES["volumes"]
        assert sidecar(outcome)["volumeMounts"][1:] == [{"readOnly": True, **self.VALUES["volumeMounts"][0]}]
        assert "volumeMounts" not in outcome.pod["spec"]["containers"][0]

    def test_a_pod_that_has_the_very_volume_keeps_it_and_one_of_another_kind_is_refused(self) -> None:
        had = injected(pod(spec={"volumes": self.VALUES["volumes"]}), plan(**self.VALUES))
        assert had.pod is not None
        assert [each["name"] for each in had.pod["spec"]["volumes"]] == ["authority", "sidegate-config"]
        other = injected(pod(spec={"volumes": [{"name": "authority", "emptyDir": {}}]}), plan(**self.VALUES))
        assert other.problems == [
            "spec.volumes: the pod has a volume authority already, which the sidecar brings"
        ]

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"volumes": [{"emptyDir": {}}]}, "volumes: one has no name"),
            ({"volumeMounts": [{"name": "a", "mountPath": "/a"}]}, "volumeMounts: a is none of volumes"),
            (
                {"volumes": [{"name": "a"}], "volumeMounts": [{"name": "a"}]},
                "volumeMounts: a has no mountPath",
            ),
        ],
    )
    def test_what_cannot_be_is_said(self, values: dict[str, Any], said: str) -> None:
        (problem,) = Plan({"upstream": {"url": "http://data.example.com"}, **values}).problems
        assert said in problem
