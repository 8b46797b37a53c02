# One image a function:  docker build --build-arg FUNCTION=keys -t rdev-keys .
# FUNCTION: keys, projects, exec, events, webhooks, audit, system or runner.
#                        PACKAGES: what is installed beside it, for workspaces that are folders.
# The migrations:        docker build --target migrations -t rdev-migrations .
# For OpenFaaS:          --build-arg STAGE=openfaas, as stack.yml does.
ARG PYTHON=3.11
ARG STAGE=function
ARG FUNCTION=none

FROM docker.io/library/python:${PYTHON}-slim-bookworm AS dependencies
ARG UV_VERSION=0.13.9
# Compiled once, here, and taken as it is: an image's files may get other times on their way.
ENV UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/venv \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /lock
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
COPY pyproject.toml uv.lock ./
# Without the code, which lies in /app and is found by the .pth: a change of it leaves this layer
# as it is, here and in every image.
RUN uv sync --frozen --no-dev --no-install-project \
    && echo /app/shared >"$(echo /venv/lib/python*/site-packages)/rdev.pth"

# Those that reach the cluster have its client as well, without the half of it that is for asyncio.
FROM dependencies AS dependencies-kubernetes
RUN uv sync --frozen --no-dev --no-install-project --extra kubernetes \
    && rm -r /venv/lib/python*/site-packages/kubernetes/aio

FROM dependencies AS dependencies-keys
FROM dependencies AS dependencies-exec
FROM dependencies AS dependencies-events
FROM dependencies AS dependencies-webhooks
FROM dependencies AS dependencies-audit
FROM dependencies-kubernetes AS dependencies-projects
FROM dependencies-kubernetes AS dependencies-system
FROM dependencies-kubernetes AS dependencies-runner
FROM dependencies AS dependencies-none
RUN echo "Say which function: --build-arg FUNCTION=keys" >&2; exit 1

# hadolint ignore=DL3006
FROM dependencies-${FUNCTION} AS depended-on

# All functions, which are a few kilobytes: the resident runner is two of them. Whoever checked this
# out, the image's user is another and has to read it.
FROM dependencies AS code
WORKDIR /app
COPY LICENSE ./
COPY functions functions
COPY migrations migrations
COPY shared shared
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash functions shared \
    && /venv/bin/python -m rdev.http.openapi \
    && chmod -R a+rX /app /venv/share

FROM dependencies AS dependencies-migrations
RUN uv sync --frozen --no-dev --no-install-project --extra up

FROM docker.io/library/python:${PYTHON}-slim-bookworm AS runtime
# What commands find where workspaces are folders: --build-arg PACKAGES="git make". In pods they have
# images of their own, and nothing is needed here.
ARG PACKAGES=""
# hadolint ignore=DL3008,SC2086
RUN if [ -n "$PACKAGES" ]; then \
      apt-get update -q && apt-get install -qy --no-install-recommends $PACKAGES \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --uid 65532 --no-create-home --home-dir /data --shell /usr/sbin/nologin rdev \
    && install -d -o 65532 -g 65532 -m 0700 /data
# psycopg brings an OpenSSL of its own, which does not know where Debian keeps the authorities.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYDANTIC_DISABLE_PLUGINS=__all__
WORKDIR /app
USER 65532:65532

FROM runtime AS migrations
LABEL org.opencontainers.image.title="rdev migrations" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=dependencies-migrations /venv/bin/dbmate /usr/local/bin/dbmate
COPY --from=code /app/LICENSE ./
COPY --from=code /app/migrations migrations
# DATABASE_URL names the database.
CMD ["dbmate", "--migrations-dir", "/app/migrations", "--no-dump-schema", "--wait", "up"]

FROM runtime AS function
COPY --from=depended-on /venv /venv
COPY --from=code /app /app
COPY --from=code /venv/share /venv/share
ARG FUNCTION
# Buildah's cache heeds an ARG in RUN alone (its issue 5501): without this line all images that
# Podman builds would be the first one's function.
RUN test -f "functions/${FUNCTION}/main.py"
LABEL org.opencontainers.image.title="rdev ${FUNCTION}" \
      org.opencontainers.image.description="Run a command in any of your projects, from anywhere, and lose nothing." \
      org.opencontainers.image.licenses="Apache-2.0" \
      dev.rdev.function="${FUNCTION}"
ENV FUNCTION_TARGET=${FUNCTION} \
    PORT=8080
EXPOSE 8080
CMD ["python", "-m", "rdev.platform.function"]

# The same behind OpenFaaS's watchdog, which is what listens on 8080 then.
FROM ghcr.io/openfaas/of-watchdog:0.10.7 AS watchdog

FROM function AS openfaas
COPY --from=watchdog /fwatchdog /usr/local/bin/fwatchdog
ENV fprocess="python -m rdev.platform.function" \
    mode=http \
    upstream_url=http://127.0.0.1:8081 \
    HOST=127.0.0.1 \
    PORT=8081
CMD ["fwatchdog"]

# hadolint ignore=DL3006
FROM ${STAGE}
