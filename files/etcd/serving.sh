# Prints whether etcd serves on this host, or why not, and whether another member serves: serving.sh MEMBER...
# $own is the command line of etcdctl for this host's member, each MEMBER that for another one.
: "${own?}"

# A leader is elected within seconds. `endpoint health` would call a member with an alarm unhealthy.
# shellcheck disable=SC2086 # A word for each argument.
end=$(($(date +%s) + 20))
until said=$($own get health 2>&1 >/dev/null) && echo serves; do
  [ "$(date +%s)" -ge $end ] || { sleep 1; continue; }
  shut_out=$(echo "$said" | grep -oE '(x509|tls): [^"\\]*|permission denied' | tail -n 1)
  echo "said ${shut_out:-$(echo "$said" | tail -n 1)}"
  for other; do
    $other get health >/dev/null 2>&1 && echo elsewhere && break
  done
  break
done
$own endpoint status -w json 2>/dev/null | sed 's/^/status /'
true
