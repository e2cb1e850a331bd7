# voxgender: the page, signaling and media in one process, on a CPU. How to run it: docs/deployment.md.
# tools/dockerfile-steps runs these same steps without Docker.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# Where pip looks besides its own index; one with the CPU build of torch saves gigabytes of CUDA.
ARG PIP_EXTRA_INDEX_URL
WORKDIR /src
RUN python -m venv --without-pip /opt/voxgender
# Dependencies by themselves: a change of the code leaves their layer, the large one, alone.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['media'], sep='\n')" > requirements.txt \
 && python -m pip --python /opt/voxgender/bin/python install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY server server
COPY client client
RUN python -m pip --python /opt/voxgender/bin/python install --no-cache-dir --no-deps --prefix /opt/package .

FROM python:${PYTHON}-slim
# The cache is for models from a hub; a volume that is mounted there takes its owner over.
RUN useradd --uid 10001 --create-home voxgender && install --directory --owner voxgender /home/voxgender/.cache
COPY --from=build /opt/voxgender /opt/voxgender
COPY --from=build /opt/package /opt/voxgender
ENV PATH=/opt/voxgender/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV VOXGENDER_HOST=0.0.0.0
USER voxgender
WORKDIR /home/voxgender
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s CMD ["python", "-c", "import os, urllib.request; port = os.environ.get('VOXGENDER_PORT') or os.environ.get('PORT') or 8080; urllib.request.urlopen(f'http://127.0.0.1:{port}/health/ready', timeout=2)"]
ENTRYPOINT ["voxgender"]
CMD ["serve"]
