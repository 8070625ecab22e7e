# Prints what a host has of a cluster: on each line a word, and what there is to say to it.
authority() { [ ! -s "$2" ] || echo "authority $1 $(base64 -w 0 "$2")"; }

[ ! -s /etc/kubekeel/cluster.json ] || echo "record $(base64 -w 0 /etc/kubekeel/cluster.json)"
authority ca /etc/kubernetes/pki/ca.crt
authority etcd-ca /etc/etcd/pki/ca.crt
authority etcd-ca /etc/flannel/pki/etcd-ca.crt
authority front-proxy-ca /etc/kubernetes/pki/front-proxy-ca.crt
awk '$1 == "-" && $2 == "name:" {name = $3} $1 == "secret:" {print name, $2}' /etc/kubernetes/encryption-config.yaml |
  while read -r name secret; do
    echo "encryption_key $name $(echo "$secret" | base64 -d | sha256sum | cut -c 1-16)"
  done
# The nodes that its API server knows.
[ ! -s /etc/kubernetes/admin.conf ] ||
  timeout 10 /opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf get nodes -o name --request-timeout=5s |
  sed 's|^node/|node |'
# Earlier versions left no record.
sed -n 's/^  - name: system:node:\([^@]*\)$/named \1/p' /etc/kubernetes/kubelet.conf
sed -n 's/^ *--name=\([^ ]*\).*/named \1/p' /etc/systemd/system/etcd.service
[ ! -s /etc/kubernetes/kubelet.conf ] || echo served
