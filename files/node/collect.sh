# Prints the base64 of an archive with a host's logs and states. A step that fails leaves its error in its file. The
# archive shows pods of kube-system only: other pods' logs and environments belong to their users.
# shellcheck disable=SC2016,SC2086 # Shells of their own expand those, and these are a word for each argument.
: "${units?}" "${etcdctl?}"
set -u
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl="/opt/kubekeel/bin/kubectl --request-timeout=20s"
# Tokens and keys have no place in a log. Should a program put one there, it ends here.
clean() {
  sed -E -e 's/eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/(a token)/g' \
    -e '/-----BEGIN [A-Z ]*PRIVATE KEY-----/,/-----END [A-Z ]*PRIVATE KEY-----/c (a private key)'
}
into() {
  file=$1
  shift
  timeout 60 "$@" 2>&1 </dev/null | clean >"$folder/$file"
}

into system.txt sh -c 'uname -a; cat /etc/os-release; uptime; free -m; df -h; df -i; mount; systemctl --failed'
into network.txt sh -c 'ip address; ip route show table all; ss -tlnp; nft list ruleset || iptables-save'
into units.txt systemctl status --no-pager --full --lines=0 $units
for unit in $units; do
  into journal-$unit.txt journalctl --unit=$unit --since=-2days --lines=20000 --no-pager --output=short-iso-precise
done
into kernel.txt journalctl --dmesg --since=-2days --lines=5000 --no-pager
into files.txt sh -c 'for place in /etc/kubernetes /etc/etcd /etc/flannel /etc/containerd /etc/cni /opt/kubekeel; do
  find -H $place -printf "%M %u:%g %s %TF %TT %p %l\n"; done; du -sh /var/lib/etcd /var/lib/containerd'
into cluster.json cat /etc/kubekeel/cluster.json
into versions.txt sh -c 'for name in etcd containerd runc kubelet kube-proxy flanneld; do
  [ -e /opt/kubekeel/bin/$name ] && echo "$name: $(/opt/kubekeel/bin/$name --version 2>&1 | head -n 3)"; done'
if [ -e /etc/etcd/pki/root.key ]; then
  into etcd.txt sh -c "$etcdctl endpoint status -w table; $etcdctl member list -w table; $etcdctl alarm list"
fi
if [ -e /opt/kubekeel/bin/crictl ]; then
  into containers.txt sh -c 'crictl=/opt/kubekeel/bin/crictl; $crictl pods; $crictl ps --all; $crictl images --digests'
  for container in $(/opt/kubekeel/bin/crictl ps --all --quiet --label io.kubernetes.pod.namespace=kube-system); do
    name=$(/opt/kubekeel/bin/crictl inspect --output go-template \
      --template '{{index .status.labels "io.kubernetes.container.name"}}' "$container")
    into "container-$name-$(echo "$container" | cut -c 1-12).txt" /opt/kubekeel/bin/crictl logs --tail 5000 "$container"
  done
fi
if [ -e $KUBECONFIG ]; then
  into kubectl-get.txt $kubectl get --all-namespaces -o wide \
    nodes,pods,deployments,daemonsets,statefulsets,services,endpointslices,leases
  into kubectl-events.txt $kubectl get events --all-namespaces --sort-by=.lastTimestamp
  into kubectl-nodes.txt $kubectl describe nodes
  into kubectl-kube-system.txt $kubectl --namespace=kube-system describe pods
  into kubectl-health.txt $kubectl get --raw '/readyz?verbose'
fi
tar -cz -C "$folder" . | base64
