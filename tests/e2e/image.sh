#!/usr/bin/env bash
# Build an image where no container registry is in reach, from a Dockerfile that ships, and write it
# as an archive for `ctr image import`. DOCKERFILE names another one than the energy exporter's.
#
#     [DOCKERFILE=exporters/Dockerfile] tests/e2e/image.sh REF OUTPUT.tar [WORKDIR]
#
# Debian packages make the base image; the Dockerfile's own default stays untested here. Layers are
# kept in a folder of their own under $TESTBED_CACHE. Needs Debian, and root.
set -euo pipefail

ref=${1:?usage: image.sh REF OUTPUT.tar [WORKDIR]}
output=$(realpath --canonicalize-missing "${2:?usage: image.sh REF OUTPUT.tar [WORKDIR]}")
work=${3:-$(mktemp --directory)}
[ "$(id -u)" -eq 0 ] || { echo "image.sh: only root can build images here" >&2; exit 2; }

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dockerfile=${DOCKERFILE:-exporters/Dockerfile}
cache=${TESTBED_CACHE:-$HOME/.cache/k8s-testbed}/image
mkdir -p "$work" "$cache" "$(dirname "$output")"
work=$(realpath "$work")
export DEBIAN_FRONTEND=noninteractive TMPDIR=$work

log=$work/image.log
: >"$log"
exec 4>&2 >>"$log" 2>&1 # quiet, unless it fails
finish() {
    local status=$?
    if [ "$status" -ne 0 ]; then
        { echo "image.sh: no image; the end of its log:"; tail -n 40 "$log"; } >&4
    fi
    [ -n "${3:-}" ] || rm -rf "$work"
    exit "$status"
}
trap 'finish "$@"' EXIT

exec 9>"$cache/lock" # one build at a time: they share the layers
flock 9

store() { # store ARG...: buildah, with images and layers in our own folder
    buildah --root "$cache/layers" --runroot "$cache/run" "$@"
}

# 1. The tools.
if ! { command -v buildah && command -v mmdebstrap; }; then
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends buildah mmdebstrap
fi
store rm --all # what a run that was killed left mounted

# 2. The base: Python and what the Dockerfile's steps call, from where this machine's apt gets it.
packages='base-files base-passwd bash coreutils dash diffutils dpkg findutils grep libc-bin libstdc++6
mawk perl-base python3-venv sed tar'
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
base=localhost/python:$codename-$(sha256sum <<<"$packages" | cut -c-12)
if ! store inspect --type image "$base"; then
    mirrors() {
        apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
            'Identifier: Packages' 'Origin: Debian'
    }
    [ -n "$(mirrors)" ] || apt-get update -qq
    mirrors >"$work/sources.list"
    # It hands descriptors on to a shell that knows no two-digit ones: ours are closed, to stay low.
    mmdebstrap --quiet --mode=root --variant=custom --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        "$codename" "$work/base.tar" "$work/sources.list" 4>&- 9>&-
    container=$(store from scratch)
    store add --quiet "$container" "$work/base.tar" /
    store config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "$container"
    store commit --quiet --rm "$container" "$base"
    rm "$work/base.tar"
fi

# 3. This machine's settings of pip, and the folders and files they name, are lent to the build.
python=python3
[ ! -x "$checkout/.venv/bin/pip" ] || python=$checkout/.venv/bin/python
: >"$work/pip.conf"
"$python" -m pip config list >"$work/pip.settings" || true
lent=$("$python" - "$work" <<'PY'
import ast, pathlib, re, sys

work = pathlib.Path(sys.argv[1])
settings = [
    (re.sub(r"^(:env:|global)\.", "", name).strip("."), ast.literal_eval(value))
    for name, _, value in (
        line.partition("=") for line in (work / "pip.settings").read_text().splitlines()
    )
    if name.startswith((":env:", "global"))
]
lines = {name: " ".join(str(value).split()) for name, value in reversed(settings)}
(work / "pip.conf").write_text(
    "[global]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
)
for word in sorted({word for value in lines.values() for word in value.split()}):
    # The pages of an index on this disk refer to files beside its folder.
    path = pathlib.Path(word.removeprefix("file://"))
    path = path.parent if word.startswith("file://") else path
    if path.is_absolute() and path != pathlib.Path("/") and path.exists():
        print(path)
PY
)
volumes=(--volume "$work/pip.conf:/etc/pip.conf:ro")
while read -r path; do
    [ -z "$path" ] || volumes+=(--volume "$path:$path:ro")
done <<<"$lent"

# 4. The image. What was lent leaves empty files where it was, so only the stages that build see it;
# the second call finds them among the layers.
build() {
    store build --isolation chroot --pull-never --layers --timestamp 315532800 \
        --file "$checkout/$dockerfile" --ignorefile "$checkout/$dockerfile.dockerignore" \
        --build-arg "BASE=$base" "$@" "$checkout"
}
# Its tag keeps the stage's layers until the next one: each Dockerfile has its own.
build "${volumes[@]}" --target build --tag "localhost/build/$(dirname "$dockerfile"):latest"
build --tag "$ref"
store rmi --prune || true # layers of earlier checkouts
rm -f "$output"
store push "$ref" "oci-archive:$output:$ref"
