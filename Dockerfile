# One image a function:  docker build --build-arg FUNCTION=keys -t rdev-keys .
# FUNCTION: keys, projects, exec, events, webhooks, audit, system or runner.
# The migrations:        docker build --target migrations -t rdev-migrations .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG UV_VERSION=0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/app/.venv \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /app
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
COPY pyproject.toml uv.lock ./
# Without the code first: a change of it leaves this layer as it is.
RUN uv sync --frozen --no-dev --no-install-project
COPY LICENSE README.md ./
COPY shared shared
# Editable: the library finds functions/ and migrations/ beside itself.
RUN uv sync --frozen --no-dev && .venv/bin/python -m compileall -q shared

FROM build AS build-migrations
RUN uv sync --frozen --no-dev --extra up

FROM python:${PYTHON}-slim-bookworm AS runtime
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 65532:65532

FROM runtime AS migrations
LABEL org.opencontainers.image.title="rdev migrations" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-migrations /app/.venv/bin/dbmate /usr/local/bin/dbmate
COPY migrations migrations
# DATABASE_URL names the database.
CMD ["dbmate", "--migrations-dir", "/app/migrations", "--no-dump-schema", "--wait", "up"]

FROM runtime AS function
ARG FUNCTION
LABEL org.opencontainers.image.title="rdev ${FUNCTION}" \
      org.opencontainers.image.description="Run a command in any of your projects, from anywhere, and lose nothing." \
      org.opencontainers.image.licenses="Apache-2.0" \
      dev.rdev.function="${FUNCTION}"
COPY --from=build /app /app
COPY functions/${FUNCTION} functions/${FUNCTION}
# For `python -m rdev.doctor`, which compares them with what is applied.
COPY migrations migrations
ENV FUNCTION_TARGET=${FUNCTION} \
    PORT=8080
EXPOSE 8080
CMD ["python", "-m", "rdev.platform.function"]
