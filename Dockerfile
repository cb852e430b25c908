# vitserve as an image: docs/operate/kubernetes.md says how to build, run and shrink it.
#
#   docker build -t vitserve .                       for the CPU, linux/amd64 and linux/arm64
#   docker build -t vitserve:cuda --target cuda .    for NVIDIA GPUs, linux/amd64: CUDA 13 and cuDNN 9
#
# There is no "# syntax" line, because that fetches a front end from Docker Hub before anything else: all that is used
# here is built into BuildKit and buildah. Every image that is built upon is an argument, so that it can come from a
# mirror and be pinned: --build-arg NODE_IMAGE=mirror.example.com/library/node:24-trixie-slim@sha256:…

# Where Node.js and npm come from. The binary of this image is the one that serves.
ARG NODE_IMAGE=docker.io/library/node:24-trixie-slim
# What the server stands on: a C++ library, and neither a shell nor a package manager.
ARG CPU_BASE=gcr.io/distroless/cc-debian13:nonroot
# CUDA 13 and cuDNN 9, without compilers. The first version of 13, since later ones ask for later drivers.
ARG CUDA_BASE=docker.io/nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04

FROM ${NODE_IMAGE} AS node

# The program.
FROM node AS build
WORKDIR /app
# Empty: npm's own.
ARG NPM_REGISTRY=
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm \
    npm ci --no-audit --no-fund ${NPM_REGISTRY:+--registry="$NPM_REGISTRY"}
COPY tsconfig.json ./
COPY src src
RUN npm run -s build && find dist \( -name '*.map' -o -name '*.d.ts' -o -name .tsbuildinfo \) -delete

# What the program needs to run, of this platform only.
FROM node AS modules
WORKDIR /app
ARG NPM_REGISTRY=
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --no-audit --no-fund ${NPM_REGISTRY:+--registry="$NPM_REGISTRY"}
COPY tools/image/prune-modules.mjs tools/image/
RUN node tools/image/prune-modules.mjs node_modules

# All that changes with a version of vitserve, in the layout of the repository.
FROM scratch AS app
COPY package.json LICENSE /app/
COPY proto /app/proto
COPY models /app/models
COPY --from=build /app/dist /app/dist

# onnxruntime's CUDA provider: a layer of its own, which stays as it is until onnxruntime changes.
FROM modules AS cuda-provider
# Empty: that of vitserve install-cuda.
ARG PYPI_INDEX=
COPY --from=app /app /app
RUN node dist/main.js install-cuda --cuda 13 --into /provider ${PYPI_INDEX:+--index="$PYPI_INDEX"}

FROM ${CUDA_BASE} AS cuda
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=modules /app/node_modules /app/node_modules
COPY --from=cuda-provider /provider /app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64
COPY --from=app /app /app
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vitserve" \
      org.opencontainers.image.description="A gRPC server for Vision Transformer image classification, with CUDA" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The driver keeps kernels that it has compiled; without a writable /tmp it compiles them at each start.
# The program turns onnxruntime's telemetry off by itself; here it is off for whatever else is run in the image.
ENV NODE_ENV=production \
    ORT_DISABLE_TELEMETRY=1 \
    VITSERVE_ADDRESS=0.0.0.0:50051 \
    VITSERVE_HTTP_ADDRESS=0.0.0.0:8080 \
    VITSERVE_EXECUTION_PROVIDER=cuda \
    CUDA_CACHE_PATH=/tmp/cuda-cache
WORKDIR /app
USER 65532:65532
EXPOSE 50051 8080
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve"]

# Last, so that it is what is built when nothing else is asked for.
FROM ${CPU_BASE} AS cpu
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=modules /app/node_modules /app/node_modules
COPY --from=app /app /app
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vitserve" \
      org.opencontainers.image.description="A gRPC server for Vision Transformer image classification" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The program turns onnxruntime's telemetry off by itself; here it is off for whatever else is run in the image.
ENV NODE_ENV=production \
    ORT_DISABLE_TELEMETRY=1 \
    VITSERVE_ADDRESS=0.0.0.0:50051 \
    VITSERVE_HTTP_ADDRESS=0.0.0.0:8080
WORKDIR /app
USER 65532:65532
EXPOSE 50051 8080
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve"]
