# The programs of Holdfast, a target each:
#
#   docker build --target holdfastd -t holdfastd .    the worker, the gateway and the connector
#   docker build --target holdfast -t holdfast .      the administrator's command line
#   docker build --target directory -t directory .    an OpenLDAP to try Holdfast with; not for a company's people
#
# No image holds a secret, and none runs as root. User and group are 10001 everywhere, so that a volume fits all of them.

ARG GO_IMAGE=golang:1.26.8-bookworm
ARG BASE_IMAGE=debian:13.6-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY activities activities
COPY integrations integrations
COPY internal internal
COPY starter starter
COPY worker worker
COPY workflows workflows
ARG VERSION=development
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/holdfastd ./worker && \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/holdfast ./starter

# curl asks the gateway's /healthz; time zones are for the times in schedules and reports.
FROM ${BASE_IMAGE} AS base
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates curl tzdata && \
    rm -rf /var/lib/apt/lists/* && \
    groupadd --gid 10001 holdfast && \
    useradd --uid 10001 --gid holdfast --no-create-home --home-dir /var/lib/holdfast --shell /usr/sbin/nologin holdfast && \
    install -d -o holdfast -g holdfast -m 0700 /var/lib/holdfast /var/lib/holdfast-identity /var/lib/holdfast-repositories /var/lib/holdfast-connector /var/lib/restored

FROM base AS holdfastd
COPY --from=build /out/holdfastd /usr/local/bin/holdfastd
USER 10001:10001
WORKDIR /var/lib/holdfast
ENV HOLDFAST_STATE=/var/lib/holdfast
VOLUME ["/var/lib/holdfast"]
# The gateway's port; worker and connector listen on nothing.
EXPOSE 8443
ENTRYPOINT ["holdfastd"]
CMD ["gateway", "--listen", "0.0.0.0:8443"]
# For the default command. The certificate is verified: the gateway makes it for its own name and localhost.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--show-error", "--output", "/dev/null", "--cacert", "/var/lib/holdfast/gateway.pem", "https://localhost:8443/healthz"]

FROM base AS holdfast
COPY --from=build /out/holdfast /usr/local/bin/holdfast
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["holdfast"]
CMD ["--help"]

FROM ${BASE_IMAGE} AS directory
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slapd ldap-utils && \
    rm -rf /var/lib/apt/lists/* /var/lib/ldap/* /etc/ldap/slapd.d && \
    groupadd --gid 10001 directory && \
    useradd --uid 10001 --gid directory --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin directory && \
    install -d -o directory -g directory -m 0700 /var/lib/directory
COPY --chmod=755 deploy/openldap/serve.sh /usr/local/bin/serve-directory
COPY deploy/openldap/people.ldif /usr/local/share/directory/people.ldif
USER 10001:10001
VOLUME ["/var/lib/directory"]
EXPOSE 6636
ENTRYPOINT ["serve-directory"]
