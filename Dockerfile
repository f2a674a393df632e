# syntax=docker/dockerfile:1
# Midship's image: its static binaries, cue (which checks the rules of packages), ssh, ssh-keygen and gpg (Git over SSH,
# signatures) with the libraries these need, and the certificates, nothing else.
# It runs as 65532 and writes nothing, so a read-only root is fine. Nothing may lie at /midship, where pods mount their
# volumes.
# (tests/images packs the same layout without Docker.)
FROM golang:1.26-bookworm AS cue
WORKDIR /src
COPY tests/tools/cue/go.mod tests/tools/cue/go.sum ./
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /cue cuelang.org/go/cmd/cue

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target="$(uname -m)-unknown-linux-gnu" && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --bins --target "$target" && \
    mkdir -p /image/bin /image/etc/ssl/certs && install -d -m 1777 /image/tmp && \
    for program in midship midship-agent midship-init; do cp "target/$target/dist/$program" /image/bin/; done && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && \
    echo 'midship:x:65532:65532::/:/sbin/nologin' >/image/etc/passwd && \
    echo 'midship:x:65532:' >/image/etc/group

FROM debian:bookworm-slim AS git
COPY scripts/with-libraries /
RUN apt-get update && apt-get install -y --no-install-recommends openssh-client gpg && \
    /with-libraries /image ssh ssh-keygen gpg

FROM scratch
COPY --from=cue /cue /bin/cue
COPY --from=git /image/ /
COPY --from=build /image/ /
# one heap per processor would be kept for threads that hardly need one; and long lists, which are read and dropped, go back at
# once: without a threshold of one's own they grow into the heap, and leave holes in it
ENV PATH=/bin MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=131072
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/bin/midship"]
