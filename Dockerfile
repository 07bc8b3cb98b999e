# Two variants, by the torch they have:
#   docker build -t dreamstream .                               for processors: about 2 GB
#   docker build -t dreamstream:cuda --build-arg VARIANT=cuda . for NVIDIA's GPUs: about 6 GB
# Everything is installed by hash from deploy/*.lock, but for the processors' torch: that is not on
# PyPI, and comes in the same version from TORCH_INDEX. docs/containers.md tells how to run it.
ARG PYTHON=3.12
ARG VARIANT=cpu

FROM python:${PYTHON}-slim-trixie AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/dreamstream
WORKDIR /build

FROM base AS libraries-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY deploy/requirements-cpu.lock deploy/torch.lock ./
RUN pip --python /opt/dreamstream/bin/python install --no-deps --require-hashes \
        -r requirements-cpu.lock \
    && pip --python /opt/dreamstream/bin/python install --no-deps --index-url "${TORCH_INDEX}" \
        -r torch.lock

FROM base AS libraries-cuda
COPY deploy/requirements.lock ./
RUN pip --python /opt/dreamstream/bin/python install --no-deps --require-hashes \
        -r requirements.lock

FROM base AS wheel
COPY deploy/build.lock ./
RUN pip install --no-deps --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY bot ./bot
COPY cogs ./cogs
COPY generation ./generation
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM libraries-${VARIANT} AS installed
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/dreamstream/bin/python install --no-deps --no-index /wheels/*.whl \
    && /opt/dreamstream/bin/python -m compileall -q /opt/dreamstream/lib \
    && /opt/dreamstream/bin/python -c "from bot.wall import rendering; rendering.environment()"

FROM python:${PYTHON}-slim-trixie
# With "gcc libc6-dev" torch can compile for a GPU what is drawn often; without, it is drawn as it is.
ARG SYSTEM_PACKAGES=""
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini ${SYSTEM_PACKAGES} \
    && rm -rf /var/lib/apt/lists/* \
    && python -m pip uninstall --yes --quiet pip \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp dreamstream \
    && install -d -o dreamstream -g dreamstream -m 0750 /data
COPY --from=installed /opt/dreamstream /opt/dreamstream
COPY deploy/container.toml /etc/dreamstream/config.toml
ENV PATH=/opt/dreamstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DREAMSTREAM_CONFIG=/etc/dreamstream/config.toml \
    HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8642 9642
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["dreamstream", "health"]
# tini passes signals on, and takes away the processes that nobody waits for.
ENTRYPOINT ["tini", "--", "dreamstream"]
CMD ["run"]
