# The API alone: MongoDB is a service of its own (see docker-compose.yml).
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY app ./app
RUN python -m venv /opt/verbatim \
 && /opt/verbatim/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[parquet,otel]'

FROM python:3.11-slim
RUN groupadd --system --gid 10001 verbatim \
 && useradd --system --uid 10001 --gid 10001 --home-dir /data verbatim \
 && install -d -o verbatim -g verbatim -m 0700 /data
COPY --from=build /opt/verbatim /opt/verbatim
ENV PATH=/opt/verbatim/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    VERBATIM_HOST=0.0.0.0 \
    VERBATIM_DATA=/data \
    VERBATIM_LOG_FORMAT=json
# As a number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["verbatim", "serve"]
