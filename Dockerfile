# One static binary, root certificates, time zones and two folders; no shell, nobody is root.
# docker build --build-arg VERSION="$(git describe --tags --always)" --build-arg COMMIT="$(git rev-parse HEAD)" \
#   --build-arg DATE="$(git log -1 --format=%cI)" -t spillway .

FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG COMMIT=
ARG DATE=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -buildid= -X github.com/spillwaydb/spillway/cmd/spillway/command.version=${VERSION} \
      -X github.com/spillwaydb/spillway/cmd/spillway/command.commit=${COMMIT} \
      -X github.com/spillwaydb/spillway/cmd/spillway/command.buildDate=${DATE}" \
    -o /out/spillway ./cmd/spillway && go run ./tests/licences > /out/LICENSES
# What the process may write to. A named volume that is mounted on /segments takes its owner from here.
RUN mkdir -p /out/own/data /out/own/segments /out/own/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip
COPY --from=build --chown=65532:65532 /out/own/ /
COPY --from=build /out/spillway /out/LICENSES /
ENV ZONEINFO=/zoneinfo.zip SPILLWAY_DATA_DIR=/data
USER 65532:65532
ENTRYPOINT ["/spillway"]
CMD ["--help"]
