"""Pods that hypothesis makes: of parts that are real, of parts that are nearly real, and of anything.

The parts are where the product looks: names it knows, variables it changes, annotations it reads, in right and wrong types.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

names = st.sampled_from(
    ["app", "worker", "istio-proxy", "a" * 63, "x", "sidegate-redirect", "sidegate-config", "sidegate"]
)
texts = st.text(max_size=12) | st.text(alphabet="abc019.-_/~$(){}[]*&!:, \n", max_size=16) | names
numbers = (
    st.integers(-5, 70000) | st.sampled_from([8880, 8881, 8882, 80, 10**400, -(10**20)]) | st.floats(width=32)
)
scalars = st.none() | st.booleans() | numbers | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def nested(depth: int = 60) -> Any:
    """A list in a list in a list."""
    made: Any = 1
    for _ in range(depth):
        made = [made]
    return made


def section(likely: dict[str, Any], required: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """A section with what is required and some of the other keys, null or right, and sometimes more that nobody knows."""
    keys = {
        key: st.integers(0, 9).flatmap(lambda n, v=value: st.none() if n == 9 else v)
        for key, value in likely.items()
    }
    made = st.fixed_dictionaries(required or {}, optional=keys)
    with_more = st.tuples(made, st.dictionaries(texts, anything, max_size=2))
    return made | with_more.map(lambda both: {**both[1], **both[0]})


def mostly(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The right type, but once in sixty times."""
    return st.integers(0, 59).flatmap(lambda drawn: anything if drawn == 59 else right)


def some(of: st.SearchStrategy[Any], most: int = 2, least: int = 0) -> st.SearchStrategy[Any]:
    """A list, mostly of the right things."""
    return mostly(st.lists(mostly(of), min_size=least, max_size=most))


variables = st.sampled_from(
    ["SIDEGATE_URL", "DATA_URL", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "LOG", ""]
)
values = (
    st.sampled_from(
        [
            "http://data.example.com/api",
            "https://u:p@data.example.com/api/v2?x#y",
            "http://data.example.com:99999/",
            "http://[",
            "*",
            "a,,b",
            "$(HOST)",
            "",
        ]
    )
    | texts
)
env = section(
    {"value": mostly(values), "valueFrom": mostly(st.just({"fieldRef": {}}))}, {"name": mostly(variables)}
)
port = section(
    {
        "name": texts,
        "containerPort": mostly(numbers),
        "protocol": st.sampled_from(["TCP", "UDP", "SCTP"]),
        "hostPort": numbers,
    }
)
resources = section(
    {
        key: mostly(section({"cpu": mostly(st.sampled_from(["1", "500m", 1])), "memory": st.just("1Gi")}))
        for key in ("limits", "requests")
    }
)
sysctl = section(
    {"value": st.sampled_from(["0", "80", "1024", "٣", "-1"]) | anything},
    {"name": st.sampled_from(["net.ipv4.ip_unprivileged_port_start", "a"]) | anything},
)
security = section({"runAsUser": mostly(st.sampled_from([0, 1000, 8880])), "sysctls": some(sysctl)})
container = section(
    {
        "env": some(env, 4),
        "envFrom": anything,
        "ports": some(port),
        "resources": mostly(resources),
        "securityContext": mostly(security),
        "restartPolicy": st.sampled_from(["Always", "Never", ""]),
        "lifecycle": anything,
    },
    {"name": mostly(names)},
)

overrides = st.sampled_from(
    [
        "limits",
        "limits.rate",
        "limits.concurrency.mode",
        "retry.on",
        "retry.when_json",
        "retry.when_json.errorCode",
        "routes",
        "timeouts.total",
        "listen",
        "ops",
        "upstream.url",
        "upstream",
        "capture",
        "capture.mode",
        "capture.port",
        "capture.baseUrlVars",
        "capture.noProxy",
        "capture.redirect.cidrs",
        "resources",
        "resources.limits.memory",
        "image",
        "image.digest",
        "imagePullSecrets",
        "kubeVersion",
        "nativeSidecar",
        "preStop",
        "runAsUser",
        "scrapeAnnotations",
        "configMap",
        "configMapNamespaces",
        "service",
        "status",
        "config",
        "inject",
        "services",
        "",
        "a..b",
        ".",
    ]
).map("sidegate.dev/".__add__)
said = (
    st.sampled_from(
        [
            "20",
            "1e3",
            ".nan",
            ".inf",
            "true",
            "null",
            "",
            "[500, connect]",
            "[[]]",
            "{rate: 5}",
            "{mode: hostAliases, port: 8080}",
            "{errorCode: [500]}",
            "[{match: {path_prefix: /x}}]",
            "127.0.0.1:0",
            "'[::1]:8880'",
            "10m",
            "none",
            "redirect",
            "1.28",
            "never",
            "2001-99-99",
            "!!int x",
            "&a [*a]",
            "{<<: {a: 1}}",
            "? [1]",
            "[" * 400,
            "http://my_host",
            "http://10.0.0.1/",
            "128Mi",
            "[10.0.0.0/8, '::/0']",
            "\x00",
            "%",
            "@",
        ]
    )
    | texts
)
annotations = mostly(
    st.dictionaries(
        overrides | st.sampled_from(["prometheus.io/scrape", "kubernetes.io/config.mirror"]) | texts,
        mostly(said),
        max_size=4,
    )
)
labels = mostly(
    st.dictionaries(
        st.sampled_from(
            ["app", "k8s-app", "app.kubernetes.io/name", "app.kubernetes.io/component", "sidegate.dev/inject"]
        )
        | texts,
        mostly(st.sampled_from(["orders", "sidegate", "true", "false"]) | texts),
        max_size=3,
    )
)
metadata = section(
    {
        "name": texts,
        "generateName": texts,
        "namespace": mostly(texts),
        "labels": labels,
        "annotations": annotations,
    }
)
spec = section(
    {
        "initContainers": some(container),
        "volumes": some(section({"emptyDir": anything}, {"name": mostly(names)})),
        "hostAliases": some(section({"ip": texts, "hostnames": some(st.just("data.example.com") | texts)})),
        "securityContext": mostly(security),
        "imagePullSecrets": some(section({"name": texts})),
        "terminationGracePeriodSeconds": mostly(st.sampled_from([0, 1, 30, 3600])),
        "restartPolicy": mostly(st.sampled_from(["Always", "OnFailure", "Never"])),
        "hostNetwork": mostly(st.sampled_from([False, False, False, True])),
        "nodeSelector": mostly(
            st.dictionaries(texts | st.just("kubernetes.io/os"), texts | st.just("windows"), max_size=1)
        ),
        "os": mostly(section({"name": st.sampled_from(["linux", "linux", "windows"])})),
        "ephemeralContainers": some(container),
        "unheard-of": anything | st.just(nested()),
    },
    {"containers": some(container, most=3, least=1)},
)
pods = st.fixed_dictionaries({"metadata": mostly(metadata), "spec": mostly(spec)}) | st.fixed_dictionaries(
    {}, optional={"metadata": mostly(metadata), "spec": mostly(spec) | anything, "status": anything}
)
plans = st.fixed_dictionaries(
    {
        "capture": st.fixed_dictionaries(
            {"mode": st.sampled_from(["env", "hostAliases", "redirect", "none"])},
            optional={
                "baseUrlVars": st.just(["DATA_URL", "LOG"]),
                "httpProxy": st.booleans(),
                "port": st.sampled_from([80, 8080]),
            },
        ),
        "kubeVersion": st.sampled_from(["1.20", "1.28", "1.30"]),
    },
    optional={
        "services": st.just({"orders": {"limits": {"rate": 5}}}),
        "configMap": st.just("sidegate"),
        "configMapNamespaces": st.sampled_from([["*"], ["shop"]]),
        "imagePullSecrets": st.just(["mirror"]),
        "runAsUser": st.none(),
    },
)
