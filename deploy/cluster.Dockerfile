# Dreamstream with Ray, for compose.cluster.yaml and docs/cluster.md:
#   docker build -t dreamstream:cuda --build-arg VARIANT=cuda .
#   docker build -t dreamstream:cluster -f deploy/cluster.Dockerfile .
# Every node of a cluster must have the same Python and the same Ray: so both are pinned, and what
# Ray brings is installed by hash from deploy/cluster.lock, as the rest is from its own locks.
ARG BASE=dreamstream:cuda
ARG PYTHON=3.12
FROM ${BASE} AS base

FROM python:${PYTHON}-slim-trixie AS with-ray
COPY --from=base /opt/dreamstream /opt/dreamstream
COPY deploy/cluster.lock ./
RUN pip --python /opt/dreamstream/bin/python install --no-cache-dir --no-deps --require-hashes \
        -r cluster.lock

FROM base
COPY --from=with-ray /opt/dreamstream /opt/dreamstream
ENTRYPOINT ["tini", "--"]
CMD ["dreamstream", "run"]
