# syntax=docker/dockerfile:1
FROM python:3.14-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /venv
# The dependencies change rarely: a layer of their own, with their hashes checked.
COPY requirements.lock ./
RUN /venv/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY stream ./stream
COPY asyncapi/site ./asyncapi/site
RUN /venv/bin/pip install --no-deps .

FROM python:3.14-slim AS base
# uid 10001: above what distributions use, so that it maps to nobody on the host.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin stream
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001

# The stand-in world for docker-compose.yml: Graph API and Tenant Service simulators.
FROM base AS sandbox
COPY sandbox ./sandbox
ENTRYPOINT ["python", "-m", "sandbox"]

FROM base AS worker
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/health/live', timeout=2)"]
# The exec form: SIGTERM reaches the worker, which then drains.
CMD ["faststream", "run", "stream.app:app"]
