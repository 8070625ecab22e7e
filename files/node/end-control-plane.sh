# Ends the static pods of a host that is not a master any more: end-control-plane.sh HOST. Needs the list $pods.
# It deletes their manifests, so that kubelet ends the pods within their grace periods.
set -u
host=$1 patience=90
bin=/opt/kubekeel/bin
: "${pods?}"

sandboxes() {
  for pod in $pods; do
    # kubelet sets these labels, so a user's pods cannot have the same ones.
    $bin/crictl pods --quiet --label io.kubernetes.pod.namespace=kube-system \
      --label io.kubernetes.pod.name="$pod-$host" "$@" 2>/dev/null
  done
}

for pod in $pods; do
  rm -f "/etc/kubernetes/manifests/$pod.yaml"
done
[ -S /run/containerd/containerd.sock ] || exit 0
while systemctl is-active --quiet kubelet && [ $patience -gt 0 ] && [ -n "$(sandboxes --state ready)" ]; do
  sleep 1
  patience=$((patience - 1))
done
# kubelet may leave some behind.
sandboxes | xargs -r "$bin/crictl" rmp --force >/dev/null 2>&1
left=$(sandboxes --state ready | tr '\n' ' ')
[ -z "$left" ] || { echo "$host: its static pods do not end ($left); reboot it and deploy again"; exit 1; }
