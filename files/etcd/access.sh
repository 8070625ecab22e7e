# Prints etcd's users and roles with their rights, and flannel's keys; nothing without a quorum.
# Users and roles cost two commands for each node, so the look skips them if the record shows them unchanged.
: "${etcdctl?}" "${digest?}" "${record_key?}" "${network_key?}" "${leases_key?}"

# shellcheck disable=SC2086 # A word for each argument.
etcdctl() { $etcdctl --command-timeout=20s "$@" 2>/dev/null; }
status=$(etcdctl auth status | sed -n 's/^Authentication Status: /auth /p; s/^AuthRevision: /revision /p')
[ -n "$status" ] && record=$(etcdctl get --print-value-only "$record_key") &&
  network=$(etcdctl get --print-value-only "$network_key") && leases=$(etcdctl get --prefix "$leases_key" -w json) ||
  exit 0
printf '%s\n' answered "$status" "$record"
etcdctl alarm list | sed 's/^/alarm /'
echo "network $(echo "$network" | tr -d '\n')"
echo "leases $leases"
echo "$record" | grep -qxF "granted $(echo "$status" | sed -n 's/^revision //p') $digest" || {
  for user in $(etcdctl user list); do echo "user $user $(etcdctl user get "$user" -w json)"; done
  for role in $(etcdctl role list); do echo "role $role $(etcdctl role get "$role" -w json)"; done
}
true
