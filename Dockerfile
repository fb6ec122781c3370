# syntax=docker/dockerfile:1
#   docker build -t kompakt .                                           CPU
#   docker build -t kompakt:cuda --build-arg TORCH_VARIANT=cu130 .      NVIDIA GPU; run with --gpus all
#   docker run -p 50051:50051 -p 9464:9464 kompakt
#   docker run -p 50051:50051 -v ./models:/models:ro kompakt serve --models /models
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON_VERSION}-slim-bookworm AS environment
# Which build of torch: cpu, or a CUDA version that torch publishes, such as cu130.
ARG TORCH_VARIANT=cpu
RUN python -m venv /opt/kompakt
ENV PATH=/opt/kompakt/bin:$PATH
RUN pip install --no-cache-dir "torch>=2.11" \
    --index-url "https://download.pytorch.org/whl/${TORCH_VARIANT}"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[service]"

FROM python:${PYTHON_VERSION}-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin kompakt \
    && install --directory --owner=kompakt /var/cache/kompakt
COPY --from=environment /opt/kompakt /opt/kompakt
ENV PATH=/opt/kompakt/bin:$PATH \
    NUMBA_CACHE_DIR=/var/cache/kompakt \
    PYTHONDONTWRITEBYTECODE=1 \
    KOMPAKT_LOG_FORMAT=json
USER 10001
# Loading the models compiles the loops, for processors like this one; others do it at their first start.
RUN ["python", "-c", "from kompakt_service import server, settings; server.Server(settings.load_settings({}))"]
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["kompakt", "health"]
ENTRYPOINT ["kompakt"]
CMD ["serve"]
