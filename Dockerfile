# voxgender as two images. How to run them: docs/deployment/README.md.
#   docker build --target signaling -t voxgender-signaling .   HTTP alone: no torch, no WebRTC
#   docker build --target media -t voxgender-media .           WebRTC and the model; `serve` runs all in one
#     --build-arg EXTRAS=media,checkpoints,torch               and whatever wav2vec2 people bring
# tools/dockerfile_steps.py runs these same steps without Docker.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS runtime
# The cache is for models from a hub and converted ones; a volume that is mounted there takes its owner over.
RUN useradd --uid 10001 --create-home voxgender && install --directory --owner voxgender /home/voxgender/.cache
ENV PATH=/opt/voxgender/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV VOXGENDER_HOST=0.0.0.0
WORKDIR /home/voxgender
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s CMD ["python", "-c", "import os, urllib.request; port = os.environ.get('VOXGENDER_PORT') or os.environ.get('PORT') or 8080; urllib.request.urlopen(f'http://127.0.0.1:{port}/health/ready', timeout=2)"]
ENTRYPOINT ["voxgender"]
# By number, so that Kubernetes can tell that it is not root.
USER 10001

# Dependencies by themselves: a change of the code leaves their layer, the large one, alone.
FROM python:${PYTHON} AS signaling-packages
WORKDIR /src
RUN python -m venv --without-pip /opt/voxgender
COPY pyproject.toml constraints.txt ./
COPY locks locks
RUN python -m pip --python /opt/voxgender/bin/python install --no-cache-dir --require-hashes --requirement locks/signaling.txt

FROM signaling-packages AS media-packages
# `media` runs the embedded model; `checkpoints` adds others, and `torch` those that need it.
ARG EXTRAS=media
# Where pip looks besides its own index; one with the CPU build of torch saves gigabytes of CUDA. Its files have other
# hashes than the lock, so with it only the versions are held.
ARG PIP_EXTRA_INDEX_URL
RUN python -c "import os, tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; names = os.environ['EXTRAS'].split(','); lock = 'locks/' + '-'.join(names) + '.txt'; print(*((line for name in names for line in extras[name] if not line.startswith('voxgender')) if os.environ.get('PIP_EXTRA_INDEX_URL') else [open(lock).read()]), sep='\n')" > media.txt \
 && python -m pip --python /opt/voxgender/bin/python install --no-cache-dir --constraint constraints.txt --requirement media.txt

FROM signaling-packages AS package
RUN python -m venv /opt/build && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes --requirement locks/build.txt
COPY README.md LICENSE hatch_build.py ./
COPY server server
COPY client client
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /opt/wheel . \
 && python -m pip --python /opt/voxgender/bin/python install --no-cache-dir --no-deps --prefix /opt/package /opt/wheel/*.whl

FROM runtime AS signaling
COPY --from=signaling-packages /opt/voxgender /opt/voxgender
COPY --from=package /opt/package /opt/voxgender
CMD ["signaling"]

FROM runtime AS media
COPY --from=media-packages /opt/voxgender /opt/voxgender
COPY --from=package /opt/package /opt/voxgender
CMD ["media"]
