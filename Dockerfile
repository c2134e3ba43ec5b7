# The base by its digest, which names one image for every platform. `make base-image` moves it on to what the tag names.
FROM python:3.14-slim@sha256:a2b82f3c48559aa0a8446d9af49826b6e2b2016f4cd2afabfe6013ec53729170 AS python

FROM python AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /build && python -m venv --without-pip /venv
# All that is downloaded, with hashes checked, in layers of its own: once they are there, a change of the code builds
# without a package registry. No compiler is here, so a package without a wheel for this platform is an error at once.
COPY requirements.lock requirements-build.lock ./
RUN /build/bin/pip install --only-binary=:all: --require-hashes -r requirements-build.lock \
    && /build/bin/pip --python /venv install --only-binary=:all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY stream ./stream
COPY asyncapi/site ./asyncapi/site
RUN /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /build/bin/pip --python /venv install --no-index --no-deps /wheel/*.whl

FROM python AS base
# uid 10001: above what distributions use, so that it maps to nobody on the host.
RUN useradd --uid 10001 --no-log-init --no-create-home --shell /usr/sbin/nologin stream
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
# It asks the port that the worker was told to listen on, and no proxy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import http.client, os; asked = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('HTTP_PORT') or 8081), timeout=2); asked.request('GET', '/health/live'); raise SystemExit(asked.getresponse().status != 200)"]
# The exec form: SIGTERM reaches the worker, which then drains.
CMD ["faststream", "run", "stream.app:app"]
# Last, because each build has its own: `make image` gives the commit and its time.
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="whatsapp-stream" \
    org.opencontainers.image.description="Delivers ready-made WhatsApp messages from RabbitMQ through Meta's Graph API, for many tenants." \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.base.name="docker.io/library/python:3.14-slim" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED"
