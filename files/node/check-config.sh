#!/bin/sh
# Lets a program check its new configuration without serving, and fails if the program refuses it.
#
# "$0" is the program's name, "$1" its binary, and "$2" the folder with its new files. It gets the other arguments.
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
  # The configuration names its imports by the paths that they will have.
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
  # The last argument needs another one, so kubelet ends right after it has checked its configuration.
  ended="$binary --cert-dir=$new/certificates --exit-on-lock-contention"
  # kubelet ignores unknown fields in a folder of configurations, but reports them in a single file.
  said=$($ended --config="$folder/50-kubekeel.conf" 2>&1) || true
  ! echo "$said" | grep -q 'unknown field' || refuse "$said"
  said=$($ended --config="$new/var/lib/kubelet/config.yaml" --config-dir="$folder" 2>&1) || true
  echo "$said" | grep -q 'no lock file specified' || refuse "$said"
  ;;
*"'s arguments")
  version=$1
  shift
  binary=$(find /proc/[0-9]*/exe -lname "*/${program%"'s arguments"}" 2>/dev/null | head -n 1)
  # A binary of another version may have other arguments.
  [ -n "$binary" ] && [ "$("$binary" --version 2>/dev/null)" = "Kubernetes $version" ] || exit 0
  said=$("$binary" --version "$@" 2>&1) || refuse "$said"
  ;;
kube-apiserver)
  binary=${binary:-$(find /proc/[0-9]*/exe -lname '*/kube-apiserver' 2>/dev/null | head -n 1)}
  # Without a running API server there is no binary to ask. The first one checks its settings when it starts.
  [ -n "$binary" ] || exit 0
  pki=/etc/kubernetes/pki
  # This audit policy does not exist, so the API server ends right after it has checked the authentication.
  said=$("$binary" --authentication-config="$new/etc/kubernetes/authentication-config.yaml" --etcd-servers=https://127.0.0.1:1 \
    --cert-dir="$new/certificates" --bind-address=127.0.0.1 --secure-port=1 --advertise-address=192.0.2.1 \
    --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=RBAC --service-account-key-file=$pki/sa.pub \
    --service-account-signing-key-file=$pki/sa.key --audit-log-path=/dev/null --audit-policy-file="$new/none" "$@" 2>&1) || true
  echo "$said" | grep -q 'loading audit policy file' || refuse "$said"
  ;;
esac
