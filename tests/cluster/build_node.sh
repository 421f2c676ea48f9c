#!/bin/bash
# Fetches and builds what a node of Kubernetes consists of, into the folder $1; about ten minutes, once.
# Debian 12 is the last to have the whole source of Kubernetes, and Go that builds it; all else comes from packages
# that are unpacked there, so that nothing is installed and no daemon is started.
set -euo pipefail
mkdir -p "$1" && cd "$1"
if [ -e ready ]; then exit; fi
. /etc/os-release
[ "$ID$VERSION_ID" = debian12 ] || { echo "A node can be built on Debian 12 only; this is $PRETTY_NAME." >&2; exit 1; }

mkdir -p apt/sources apt/lists packages source go
for list in /etc/apt/sources.list.d/*.sources; do
  sed 's/^Types: deb$/Types: deb deb-src/' "$list" > "apt/sources/${list##*/}"
done
sed -n 'p; s/^deb /deb-src /p' /etc/apt/sources.list > apt/sources/machine.list 2>/dev/null || true
apt() {
  apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$1/apt/sources" \
    -o "Dir::State::lists=$1/apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Sandbox::User=root "${@:2}"
}
here=$PWD
apt "$here" update
(cd packages && apt "$here" download containerd containernetworking-plugins docker-registry etcd-server \
  golang-1.19-go golang-1.19-src)
(cd source && apt "$here" source --download-only kubernetes)
for package in packages/*.deb; do
  case $package in */golang*) dpkg-deb -x "$package" go ;; *) dpkg-deb -x "$package" . ;; esac
done

cd source
tar --strip-components=1 -xzf kubernetes_*.orig.tar.gz
mkdir -p .go/src/k8s.io && ln -sfn ../../.. .go/src/k8s.io/kubernetes # it is older than Go's modules
export GOROOT="$here/go/usr/lib/go-1.19" GOPATH="$PWD/.go" GOCACHE="$here/go/cache" GOPROXY=off CGO_ENABLED=0
export PATH="$GOROOT/bin:$PATH" KUBE_GIT_COMMIT=debian KUBE_GIT_TREE_STATE=archive
export KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 GOFLAGS=-tags=providerless # without the clouds
parts="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"
nice -n 19 make WHAT="$(printf 'cmd/%s ' $parts)" GOLDFLAGS="-s -w"
for part in $parts; do install "_output/local/bin/linux/amd64/$part" "$here/usr/bin/"; done
cd "$here" && rm -rf source go packages apt && touch ready
