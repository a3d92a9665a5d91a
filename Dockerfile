# Three images, none runs as root:
#   docker build -t crackseg .                        analyze photographs (the default); no torch
#   docker build -t crackseg-serve --target serve .   the web service, see compose.yaml; no torch
#   docker build -t crackseg-train --target train .   train models, with torch
#   docker run --rm -v "$PWD/photos:/photos:ro" -v "$PWD/results:/results" crackseg \
#     analyze /photos --out /results
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY crackseg crackseg
COPY service service
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir '.[reports,geo,gis]'

FROM build AS build-serve
RUN /venv/bin/pip install --no-cache-dir '.[geo,gis,service]'

# Runs with a read-only root: it writes to the volume /data, and a little to /tmp.
FROM python:3.11-slim AS serve
COPY --from=build-serve /venv /venv
RUN useradd --uid 1000 --create-home crackseg && install -d -o crackseg /data
USER 1000
WORKDIR /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["crackseg"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data"]

FROM build AS build-train
RUN /venv/bin/pip install --no-cache-dir '.[train]'

FROM python:3.11-slim AS train
COPY --from=build-train /venv /venv
RUN useradd --uid 1000 --create-home crackseg && install -d -o crackseg /work
USER 1000
WORKDIR /work
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
HEALTHCHECK NONE
ENTRYPOINT ["crackseg"]
CMD ["train", "--help"]

FROM python:3.11-slim
COPY --from=build /venv /venv
RUN useradd --uid 1000 --create-home crackseg && install -d -o crackseg /results
USER 1000
WORKDIR /home/crackseg
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
HEALTHCHECK --interval=5m --timeout=60s CMD ["crackseg", "selfcheck"]
ENTRYPOINT ["crackseg"]
CMD ["--help"]
