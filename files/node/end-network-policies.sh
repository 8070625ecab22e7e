# Stops kube-network-policies and removes its rules. Needs the functions of undo.sh.
systemctl stop kube-network-policies 2>/dev/null
remove_rules 'kube-network-policies' 'KUBE-NETWORK-POLICIES-'
