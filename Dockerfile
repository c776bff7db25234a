# One image for everything of ours in a cluster; the command chooses what a container is:
#   python -m jac_orc.pod_manager                       the pod manager
#   python -m jac_orc.module_server                     the server in a module's pod
#   python -m jac_orc.pod_manager.environment_builder   a Job that builds a module's environment
# Envoy runs from its own official image.

ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
# Where pip gets packages from, if not from where it does by default; what is installed is pinned by hash either way.
ARG PIP_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /build && python -m venv --without-pip /opt/jac-orc && python -m venv --without-pip /opt/blank
COPY requirements/build.txt requirements/image.txt /src/requirements/
RUN /build/bin/pip install --require-hashes --requirement /src/requirements/build.txt \
    && /build/bin/pip --python /opt/jac-orc/bin/python install --no-compile --require-hashes \
       --requirement /src/requirements/image.txt
COPY LICENSE README.md pyproject.toml /src/
COPY services /src/services
# Bytecode that is never compared with its source: the image is read-only, and its files' times may be rewritten. Not of
# the Kubernetes client's models, which are half of all code and not used.
RUN /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /build/wheels /src \
    && /build/bin/pip --python /opt/jac-orc/bin/python install --no-compile --no-index --no-deps /build/wheels/*.whl \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/kubernetes/.*/(api|models)/' /opt/jac-orc/lib

FROM ${BASE_IMAGE}
# Python's official images have no bytecode of the standard library, and nothing can be written where this runs: every
# process would compile what it imports. Where the base has it, as Debian's Python does, this adds nothing.
RUN python -m compileall -q -j 0 -x '/(site-packages|dist-packages|tests?|idle_test|lib2to3)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && echo 'jac-orc:x:65532:65532::/tmp:/usr/sbin/nologin' >>/etc/passwd && echo 'jac-orc:x:65532:' >>/etc/group
# /opt/jac-orc is ours. /opt/blank has nothing installed: modules of the standard library run in it.
COPY --from=builder /opt /opt
ENV PATH=/opt/jac-orc/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_SYSTEM_CERTS=true
USER 65532:65532
CMD ["python", "-m", "jac_orc.pod_manager"]
# Last, as they change with each version.
ARG VERSION=0
ARG SOURCE=
LABEL org.opencontainers.image.title="JAC Cloud Orchestrator" \
      org.opencontainers.image.description="Deploys any Python module as pods and serves it over gRPC and REST" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}"
