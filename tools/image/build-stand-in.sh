#!/usr/bin/env bash
# Builds the image where no image registry can be reached, without a daemon: on stand-ins for the images that the
# Dockerfile builds upon, made of Debian packages and of Node.js and npm from the npm registry.
#
#   tools/image/build-stand-in.sh [TARGET] [BUILDAH_BUILD_OPTION…]     TARGET: cpu (default) or cuda
#
# Needs root, mmdebstrap, buildah and npm. The result is localhost/vitserve:TARGET in buildah's storage; run it with
# tools/image/run-stand-in.mjs. The stand-ins are kept: remove them with `buildah rmi` to make them anew. A `cuda` built
# like this has CUDA's libraries if STAND_IN_CUDA names a folder with the wheels of PyPI that hold them.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${1:-cpu}
shift || true
suite=${STAND_IN_SUITE:-bookworm}
node_image=localhost/vitserve-stand-in/node:24
base_image=localhost/vitserve-stand-in/base:nonroot
cuda_image=localhost/vitserve-stand-in/cuda:13
export BUILDAH_ISOLATION=chroot

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

has_image() { buildah images --quiet "$1" >/dev/null 2>&1; }

# The registry's newest of a package, unpacked into a folder: unpack NAME@RANGE FOLDER
unpack() {
  mkdir -p "$2"
  tar -xzf "$scratch/$(cd "$scratch" && npm pack --silent "$1" | tail -n 1)" -C "$2" --strip-components=1
}

# An image that is one folder: commit FOLDER IMAGE [BUILDAH_CONFIG_OPTION…]
commit() {
  local folder=$1 image=$2 container
  shift 2
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$folder" / >/dev/null
  buildah config "$@" "$container"
  buildah commit --quiet --rm "$container" "$image" >/dev/null
}

# A Debian root of the given packages: debian FOLDER VARIANT PACKAGES
debian() { mmdebstrap --quiet --variant="$2" --include="$3" "$suite" "$1"; }

if ! has_image "$node_image"; then
  debian "$scratch/node" essential ca-certificates,libstdc++6
  case "$(dpkg --print-architecture)" in amd64) arch=x64 ;; arm64) arch=arm64 ;; *) arch=unsupported ;; esac
  unpack "node-linux-$arch@24" "$scratch/node-package"
  install -D "$scratch/node-package/bin/node" "$scratch/node/usr/local/bin/node"
  unpack npm@11 "$scratch/node/usr/local/lib/node_modules/npm"
  for name in npm npx; do
    ln -s "../lib/node_modules/npm/bin/$name-cli.js" "$scratch/node/usr/local/bin/$name"
  done
  # Whom this machine trusts: a registry may be reached through a proxy of its own.
  cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/node/etc/ssl/certs/ca-certificates.crt"
  commit "$scratch/node" "$node_image" --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
fi

# What distroless images are: packages without what installs them, no shell, and a user.
bare() {
  debian "$1" extract base-files,libstdc++6,netbase,tzdata
  echo 'root:x:0:0:root:/root:/sbin/nologin' >"$1/etc/passwd"
  echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >>"$1/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$1/etc/group"
  rm -rf "$1"/var/{cache,lib,log}/{apt,dpkg,debconf} "$1"/usr/share/{doc,man,locale,bash-completion}
}

if [ "$target" = cpu ] && ! has_image "$base_image"; then
  bare "$scratch/base"
  commit "$scratch/base" "$base_image" --user 65532
fi

if [ "$target" = cuda ] && ! has_image "$cuda_image"; then
  bare "$scratch/cuda"
  mkdir -p "$scratch/cuda/usr/local/cuda/lib"
  for wheel in "${STAND_IN_CUDA:-/nowhere}"/nvidia_*.whl; do
    [ -e "$wheel" ] && unzip -qjo "$wheel" '*/lib/lib*.so*' -d "$scratch/cuda/usr/local/cuda/lib"
  done
  commit "$scratch/cuda" "$cuda_image" --env LD_LIBRARY_PATH=/usr/local/cuda/lib
fi

buildah build --layers --target "$target" --tag "localhost/vitserve:$target" \
  --build-arg "NODE_IMAGE=$node_image" --build-arg "CPU_BASE=$base_image" --build-arg "CUDA_BASE=$cuda_image" \
  --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" "$@" .
