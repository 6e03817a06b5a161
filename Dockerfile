# The Python that the tests run with, by its exact version. To pin a digest, or to take the base from
# a registry of your own: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=docker.io/library/python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.txt ./
# The first part of the file goes into the image; the second builds the wheel and stays behind.
RUN sed '/^# ---- what builds/,$d' requirements.txt > run.txt \
 && sed '1,/^# ---- what builds/d; /^# ---- what only/,$d' requirements.txt > build.txt \
 && python -m venv --without-pip /opt/rotator \
 && python -m pip --python /opt/rotator/bin/python install --require-hashes --only-binary :all: -r run.txt \
 && python -m venv --without-pip /opt/build \
 && python -m pip --python /opt/build/bin/python install --require-hashes --only-binary :all: -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY rotator rotator
RUN python -m pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/rotator/bin/python install --no-deps --no-index dist/rotator-*.whl

FROM ${PYTHON_IMAGE}
# Nobody's uid on purpose: a number is what Kubernetes needs to see that it is not root.
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/rotator
COPY --from=build /opt/rotator /opt/rotator
# The root may be read-only: bytecode is compiled already, state goes to /var/lib/rotator, passing files to /tmp.
ENV PATH=/opt/rotator/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ROTATOR_POLICIES=/etc/rotator/policies \
    ROTATOR_JOURNAL=sqlite:////var/lib/rotator/journal.db \
    ROTATOR_AUDIT_LOG=/var/lib/rotator/audit.jsonl
WORKDIR /var/lib/rotator
USER 65532:65532
# No shell in between: rotator is process 1 and hears SIGTERM itself.
ENTRYPOINT ["rotator"]
CMD ["serve"]
# No HEALTHCHECK: Kubernetes asks /healthz and /readyz, and most commands here end by themselves.

ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rotator" \
      org.opencontainers.image.description="Rotates Lettermint project API tokens: minted, stored, verified, proved dead and audited" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
