# The sidecar's image: Python, the locked runtime list and the package; no compiler, no pip of ours, no shell script.
# Any image with Python 3.11 and venv can be the base: --build-arg BASE=... A release names it with its digest, BASE=python@sha256:...;
# everything on top of it is locked by hashes in deploy/locks.
# --target redirect is the same with iptables: the init container of capture.mode redirect.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY deploy/locks/compile.txt deploy/locks/runtime.txt deploy/locks/
# The path of a call is compiled by mypyc, which halves the CPU a call takes; COMPILE= leaves it to the interpreter.
ARG COMPILE=1
RUN if [ -n "$COMPILE" ] && ! { command -v gcc && command -v python3-config; } >/dev/null; then \
      packages="gcc libc6-dev"; command -v python3-config >/dev/null || packages="$packages python3-dev"; \
      apt-get -qq update && apt-get -qq install -y --no-install-recommends $packages >/dev/null; \
    fi
# Two environments: one builds and is left behind, the other becomes the image and never holds pip.
RUN python3 -m venv /build \
 && /build/bin/pip install --quiet --require-hashes -r deploy/locks/compile.txt \
 && python3 -m venv --without-pip /opt/sidegate \
 && /build/bin/pip --python /opt/sidegate/bin/python install --quiet --require-hashes -r deploy/locks/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
RUN HATCH_BUILD_HOOK_ENABLE_MYPYC=$COMPILE /build/bin/pip wheel --quiet --no-deps --no-build-isolation -w /wheel . \
 && /build/bin/pip --python /opt/sidegate/bin/python install --quiet --no-deps --compile /wheel/*.whl

FROM ${BASE} AS sidecar
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sidegate" \
      org.opencontainers.image.description="A sidecar that carries calls to one fragile HTTP server: paced, limited, retried, explained" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/sidegate /opt/sidegate
ENV PATH=/opt/sidegate/bin:$PATH PYTHONUNBUFFERED=1
# Official Python images ship the standard library without bytecode, and a read-only root can never add it:
# write it now, for exactly the modules that a start imports.
RUN python -c "import proxy.cli, proxy.main"
ENV PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes' runAsNonRoot can see that it is not root. Nothing below / is written to.
USER 8880:8880
WORKDIR /
EXPOSE 8880 8881
# The console script's own shebang makes Python PID 1: SIGTERM reaches it, no shell stands between.
STOPSIGNAL SIGTERM
ENTRYPOINT ["sidegate"]
CMD ["run"]

FROM sidecar AS redirect
LABEL org.opencontainers.image.title="sidegate-redirect" \
      org.opencontainers.image.description="Rewrites a pod's calls to one upstream so that they come to the sidecar in it"
USER 0:0
RUN command -v iptables-restore >/dev/null \
 || { apt-get -qq update && apt-get -qq install -y --no-install-recommends iptables >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*; }
# Rules are root's to write; the pod adds NET_ADMIN and NET_RAW and drops everything else.
ENTRYPOINT ["python", "-m", "proxy.inject.redirect"]
CMD []

# The last one is what a build without a target gives.
FROM sidecar
