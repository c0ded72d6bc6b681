# The image of a backup job: the program, the clients of PostgreSQL and MariaDB, tar and gpg, no compiler, and nothing
# that listens but the PostgreSQL servers that recoveries and proofs by restore start for themselves on a private socket.
# mongodump and mongorestore are in no archive of Debian: see docs/mongodb.md.
#
#   docker build --tag lifeboat .
#   docker build --build-arg POSTGRES_MAJORS="14 15 16 17" --tag lifeboat .
#   docker build --build-arg POSTGRES_SERVER_MAJORS="" --tag lifeboat-without-servers .
#
# Run it as a restricted pod would:
#
#   docker run --rm --interactive --read-only --cap-drop=ALL --user 10001 … lifeboat <event.json

ARG BUILD_IMAGE=swift:6.3-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Debian's security updates are wanted here, so no versions are pinned; the base image pins what matters.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        binutils libcurl4-openssl-dev libmariadb-dev libmongoc-dev libp11-kit-dev libpq-dev libssl-dev libzstd-dev \
        pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY Package.swift ./
COPY Sources Sources
COPY Benchmarks/Store Benchmarks/Store
COPY Tests Tests
RUN swift build -c release --product lifeboat --static-swift-stdlib \
    && install -D --strip .build/release/lifeboat /out/lifeboat

FROM ${RUNTIME_IMAGE}
# A dump is taken with the client of the server's own major version: name each that is in use. Debian has one of
# them; the others come from PostgreSQL's own package archive (apt.postgresql.org).
ARG POSTGRES_MAJORS=15
# A whole server is recovered, and a set proven by restore, by the server of its own major version (docs/recovery.md).
# Each takes some 200 MB; none are needed where backups, logical restores and verifications of integrity are all.
ARG POSTGRES_SERVER_MAJORS=${POSTGRES_MAJORS}
# Installing a server makes no cluster: every one that is started here is made for its job and removed with it.
# hadolint ignore=DL3008
RUN export DEBIAN_FRONTEND=noninteractive \
    && mkdir -p /etc/postgresql-common \
    && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \
    && apt-get update \
    && set -- \
    && for major in ${POSTGRES_MAJORS}; do set -- "$@" "postgresql-client-${major}"; done \
    && for major in ${POSTGRES_SERVER_MAJORS}; do set -- "$@" "postgresql-${major}"; done \
    && if ! apt-get install -y --simulate --no-install-recommends "$@" >/dev/null 2>&1; then \
        apt-get install -y --no-install-recommends ca-certificates postgresql-common \
        && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y; \
    fi \
    && apt-get install -y --no-install-recommends \
        ca-certificates gnupg libmariadb3 libmongoc-1.0-0 libpq5 libzstd1 mariadb-client tar zlib1g "$@" \
    && rm -rf /var/lib/apt/lists/* \
    && for major in ${POSTGRES_MAJORS}; do "/usr/lib/postgresql/${major}/bin/pg_dump" --version || exit 1; done \
    && for major in ${POSTGRES_SERVER_MAJORS}; do \
        for program in postgres initdb pg_controldata pg_amcheck; do \
            "/usr/lib/postgresql/${major}/bin/${program}" --version || exit 1; \
        done; \
        test -f "/usr/share/postgresql/${major}/extension/amcheck.control" || exit 1; \
    done \
    && groupadd --gid 10001 lifeboat \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin lifeboat
COPY --from=build /out/lifeboat /usr/local/bin/lifeboat
# The dynamic libraries are all there: a missing one would show in the first job otherwise.
RUN ["/usr/local/bin/lifeboat", "--help"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lifeboat" \
    org.opencontainers.image.description="Encrypted database backups, proven to restore" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${RUNTIME_IMAGE}"

# By number: a pod that must not run as root is only let in where the number shows.
USER 10001:10001
WORKDIR /
ENTRYPOINT ["/usr/local/bin/lifeboat"]
