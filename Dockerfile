# syntax=docker/dockerfile:1

FROM rust:1.92-slim-bookworm AS build
# A C compiler and friends for the parts of the TLS and compression libraries that are C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches stay on the machine that builds; the program is copied out of them, with the names of functions for backtraces.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin keystone --config 'profile.release.strip="debuginfo"' \
    && cp target/release/keystone /keystone

FROM debian:bookworm-slim
# Certificates for a database or an object store behind TLS. There is no Postgres in
# here: the embedded cluster is for one machine and one command, not for a container.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/keystone --create-home keystone
COPY --from=build /keystone /usr/local/bin/keystone
USER keystone
WORKDIR /var/lib/keystone
EXPOSE 8080 8090 8091
# An orderly stop finishes what is under way; see `http.shutdown_timeout_s`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["keystone"]
CMD ["serve"]
