# Analysis image: no torch, no root. Build: docker build -t crackseg .
#   docker run --rm -v "$PWD/photos:/photos:ro" -v "$PWD/results:/results" crackseg \
#     analyze /photos --out /results
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY crackseg crackseg
COPY service service
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir .

FROM python:3.11-slim
COPY --from=build /venv /venv
RUN useradd --uid 1000 --create-home crackseg && install -d -o crackseg /results
USER crackseg
WORKDIR /home/crackseg
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
HEALTHCHECK --interval=5m --timeout=60s CMD ["crackseg", "selfcheck"]
ENTRYPOINT ["crackseg"]
CMD ["--help"]
