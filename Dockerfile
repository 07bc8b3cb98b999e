# CPU and CUDA alike: PyPI's torch for Linux carries what it needs of CUDA; give the container a GPU
# with `--gpus all`. The data folder is a volume: back it up.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 DREAMSTREAM_CONFIG=/etc/dreamstream/config.toml
RUN useradd --create-home --uid 10001 dreamstream \
    && install -d -o dreamstream -g dreamstream /data /etc/dreamstream
WORKDIR /opt/dreamstream
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY bot ./bot
COPY cogs ./cogs
COPY generation ./generation
RUN pip install . \
    && printf '[storage]\ndata_dir = "/data"\n\n[wall]\nhost = "0.0.0.0"\n' \
       > /etc/dreamstream/config.toml

USER dreamstream
VOLUME /data
EXPOSE 8642
ENTRYPOINT ["dreamstream"]
CMD ["run"]
