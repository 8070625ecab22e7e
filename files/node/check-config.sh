#!/bin/sh
# What a program itself says of its new configuration, without starting to serve; fails where it refuses that.
#
# "$0" is its name, "$1" the binary, "$2" the folder below which its new files are, the others are arguments of its own.
set -eu
program=$0 binary=$1 new=$2
shift 2

refusals='err="[^<].*|^panic: .*|^containerd: .*|^Error: .*|^invalid value .*|^flag provided .*|invalid authentication configuration: .*'
refuse() {
  echo "${program%"'s arguments"} refuses its settings:"
  { echo "$1" | grep -oE 'unknown field [^,]*|key="[^"]*"' | sed 's|^key=|unknown key |' | grep . ||
    echo "$1" | grep -oE "$refusals" | tail -n 1; } |
    cut -c 1-500
  exit 1
}

case $program in
etcd)
  said=$("$binary" --version "$@" 2>&1) || refuse "$said"
  ;;
containerd)
  # What it imports is named by where it is going to be.
  sed -i "s|'/etc/containerd/|'$new/etc/containerd/|" "$new/etc/containerd/config.toml"
  said=$("$binary" --config="$new/etc/containerd/config.toml" config dump 2>&1 >/dev/null) || refuse "$said"
  ! echo "$said" | grep -q 'Ignoring unknown key' || refuse "$said"
  ;;
kube-proxy)
  said=$("$binary" --config="$new/var/lib/kube-proxy/config.yaml" --write-config-to=/dev/null 2>&1) || refuse "$said"
  ! echo "$said" | grep -q 'unknown field' || refuse "$said"
  ;;
kubelet)
  folder=$new/etc/kubernetes/kubelet.conf.d
  # It ends by an argument that lacks another one, which it looks at right after its configuration.
  ended="$binary --cert-dir=$new/certificates --exit-on-lock-contention"
  # Names that it does not know it passes over in that folder, and tells of in a file of its own.
  said=$($ended --config="$folder/50-kubekeel.conf" 2>&1) || true
  ! echo "$said" | grep -q 'unknown field' || refuse "$said"
  said=$($ended --config="$new/var/lib/kubelet/config.yaml" --config-dir="$folder" 2>&1) || true
  echo "$said" | grep -q 'no lock file specified' || refuse "$said"
  ;;
*"'s arguments")
  version=$1
  shift
  binary=$(find /proc/[0-9]*/exe -lname "*/${program%"'s arguments"}" 2>/dev/null | head -n 1)
  # Another version may know others.
  [ -n "$binary" ] && [ "$("$binary" --version 2>/dev/null)" = "Kubernetes $version" ] || exit 0
  said=$("$binary" --version "$@" 2>&1) || refuse "$said"
  ;;
kube-apiserver)
  binary=${binary:-$(find /proc/[0-9]*/exe -lname '*/kube-apiserver' 2>/dev/null | head -n 1)}
  # Where none runs, the first that does looks at its settings itself.
  [ -n "$binary" ] || exit 0
  pki=/etc/kubernetes/pki
  # It ends by an audit policy that is not there, for which it looks right after who may sign in.
  said=$("$binary" --authentication-config="$new/etc/kubernetes/authentication-config.yaml" --etcd-servers=https://127.0.0.1:1 \
    --cert-dir="$new/certificates" --bind-address=127.0.0.1 --secure-port=1 --advertise-address=192.0.2.1 \
    --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=RBAC --service-account-key-file=$pki/sa.pub \
    --service-account-signing-key-file=$pki/sa.key --audit-log-path=/dev/null --audit-policy-file="$new/none" "$@" 2>&1) || true
  echo "$said" | grep -q 'loading audit policy file' || refuse "$said"
  ;;
esac
