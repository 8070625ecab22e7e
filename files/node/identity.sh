# Prints which cluster a host belongs to, by its files and its API server: on each line a word, then its values.
content() { [ ! -s "$2" ] || echo "$1 $(base64 -w 0 "$2")"; }

content record /etc/kubekeel/cluster.json
content "authority ca" /etc/kubernetes/pki/ca.crt
content "authority etcd-ca" /etc/etcd/pki/ca.crt
content "authority etcd-ca" /etc/flannel/pki/etcd-ca.crt
content "authority front-proxy-ca" /etc/kubernetes/pki/front-proxy-ca.crt
content service_accounts /etc/kubernetes/pki/sa.pub
content clients /etc/kubernetes/pki/client-ca.crt
[ ! -s /etc/kubekeel/issued ] || echo "issued $(sha256sum /etc/kubekeel/issued | cut -c 1-16)"
awk '$1 == "-" && $2 == "name:" {name = $3} $1 == "secret:" {print name, $2}' /etc/kubernetes/encryption-config.yaml |
  while read -r name secret; do
    echo "encryption_key $name $(echo "$secret" | base64 -d | sha256sum | cut -c 1-16)"
  done
# The nodes that this host's API server knows.
[ ! -s /etc/kubernetes/admin.conf ] ||
  timeout 10 /opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf get nodes -o name --request-timeout=5s |
  sed 's|^node/|node |'
# Earlier versions of Kubekeel wrote no record.
sed -n 's/^ *- --service-cluster-ip-range=/network service_network /p' /etc/kubernetes/manifests/kube-apiserver.yaml
sed -n 's/^clusterDomain: /network cluster_domain /p' /var/lib/kubelet/config.yaml
if [ -e /etc/systemd/system/flanneld.service ]; then
  sed -n 's|^ExecStartPre=.*/make-flannel-device$|network flannel_backend vxlan|p' /etc/systemd/system/flanneld.service
  sed -n 's/^FLANNEL_NETWORK=/network pod_network /p; s|^FLANNEL_SUBNET=.*/|network node_subnet_length |p' \
    /run/flannel/subnet.env
fi
sed -n 's/^  - name: system:node:\([^@]*\)$/named \1/p' /etc/kubernetes/kubelet.conf
sed -n 's/^ *--name=\([^ ]*\).*/named \1/p' /etc/systemd/system/etcd.service
[ ! -s /etc/kubernetes/kubelet.conf ] || echo served
