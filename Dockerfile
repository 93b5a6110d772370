# syntax=docker/dockerfile:1
# One image for every target: the server, which takes `-target=`, and tactusctl. Several architectures, a list of what is inside (SBOM) and
# where it was built:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max -t REGISTRY/tactus:VERSION --push .
#
# Started without arguments the container is one process with every port open and its data in the volume.

ARG RUST_VERSION=1.95
ARG NODE_VERSION=22

# Pages are the same on every architecture: built once, on that of the builder.
FROM --platform=$BUILDPLATFORM node:${NODE_VERSION}-bookworm-slim AS pages
WORKDIR /src/libs/ui/web
COPY libs/ui/web/package.json libs/ui/web/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY libs/ui/web/ ./
RUN npm run --silent build

FROM rust:${RUST_VERSION}-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY libs/ libs/
COPY services/ services/
COPY fuzz/ fuzz/
COPY proto/ proto/
COPY scripts/image-root.sh scripts/split-symbols.sh scripts/
# tactusctl knows the values of the chart.
COPY helm/tactus/values.schema.json helm/tactus/
COPY --from=pages /src/libs/ui/web/dist/ libs/ui/web/dist/
# A cache for each architecture: two builds at once must not share a folder.
RUN --mount=type=cache,id=tactus-target-${TARGETARCH},target=/src/target \
    --mount=type=cache,id=tactus-registry,target=/usr/local/cargo/registry \
    cargo build --release --locked -p tactus -p tactusctl \
 && scripts/split-symbols.sh target/release/tactus target/release/tactusctl \
 && install -D -m 644 -t /out/symbols target/release/tactus.debug target/release/tactusctl.debug \
 && scripts/image-root.sh /out target/release/tactus target/release/tactusctl

# The lines of the sources, for back-traces: `docker build --target symbols --output symbols .` writes them to a folder.
FROM scratch AS symbols
COPY --from=build /out/symbols/ /

# Programs, glibc, certificates, and nothing else: no shell, no package manager. scripts/image.sh makes this stage by itself.
FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tactus" \
      org.opencontainers.image.description="A distributed-tracing backend" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/root/ /
# A new volume takes its owner from here.
COPY --from=build --chown=65532:65532 /out/data /var/lib/tactus
# The folder that Tempo's files name, and the default of storage.trace.wal.path.
COPY --from=build --chown=65532:65532 /out/data /var/tempo
# Of the start without a configuration: loopback of a container is reached by nobody.
ENV TACTUS_LISTEN_ADDRESS=0.0.0.0 \
    TACTUS_DATA_DIRECTORY=/var/lib/tactus
# As a number: Kubernetes' runAsNonRoot knows no names.
USER 65532:65532
WORKDIR /var/lib/tactus
VOLUME /var/lib/tactus
EXPOSE 3200 9095 4317 4318 9411 14250 14268 5778 5779 16685 16686 7777 7946 6831/udp 6832/udp 5775/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/usr/bin/tactus", "-health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tactus"]
