# cellrim's server: docker build -t cellrim . &&
# docker run -p 8000:8000 -e CELLRIM_TOKEN=... -v cellrim-data:/data cellrim
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/cellrim && /opt/cellrim/bin/pip install --no-cache-dir '.[serve]'

FROM python:3.12-slim
COPY --from=build /opt/cellrim /opt/cellrim
RUN useradd --system --uid 10001 cellrim && install -d -o 10001 /data
ENV PATH=/opt/cellrim/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["cellrim"]
# Other machines reach a container, so CELLRIM_TOKEN is required.
CMD ["serve", "--host", "0.0.0.0", "--data", "/data"]
