# Dreamstream with Ray, for compose.cluster.yaml and docs/cluster.md:
#   docker build -t dreamstream:cuda --build-arg VARIANT=cuda .
#   docker build -t dreamstream:cluster -f deploy/cluster.Dockerfile .
# Every node of a cluster must have the same Python and the same Ray: so both are pinned.
ARG BASE=dreamstream:cuda
FROM ${BASE} AS base

FROM python:3.12-slim-bookworm AS with-ray
ARG RAY=2.60.0
COPY --from=base /opt/dreamstream /opt/dreamstream
RUN pip --python /opt/dreamstream/bin/python install --no-cache-dir "ray[default]==${RAY}"

FROM base
COPY --from=with-ray /opt/dreamstream /opt/dreamstream
ENTRYPOINT ["tini", "--"]
CMD ["dreamstream", "run"]
