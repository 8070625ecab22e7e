# Compares, applies or awaits the user's own objects: site.sh current|apply|ready FOLDER KUBECTL...
# FOLDER has files, and folders with a kustomization; `apply` applies them in the order of their names. A ConfigMap
# lists the applied objects, so that `apply` deletes those that have left FOLDER, and no others.
set -u
action=$1 folder=$2 kubectl=$3
shift 3

note=kubekeel-site
manager="--server-side --force-conflicts --field-manager=kubekeel-site"
columns=API:.apiVersion,KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name
# `apply` makes this file last: if it is missing, a run was interrupted.
done=$folder/.applied

k() { "$kubectl" "$@"; }
items() { find -H "$folder" -mindepth 1 -maxdepth 1 ! -name '.*' 2>/dev/null | LC_ALL=C sort; }
option() { if [ -d "$1" ]; then echo -k; else echo -f; fi; }
noted() { k "$@" -n kube-system get configmap $note --ignore-not-found -o 'jsonpath={.data.objects}'; }

# Writes the list of applied objects from the lines on standard input, in their order.
write_note() {
  lines=$(awk 'NF && !known[$0]++')
  [ "$lines" != "$(noted "$@")" ] || return 0
  if [ -n "$lines" ]; then
    echo "$lines" | k "$@" -n kube-system create configmap $note --from-file=objects=/dev/stdin --dry-run=client -o yaml |
      k "$@" apply --server-side --force-conflicts --field-manager=kubekeel -f -
  else
    k "$@" -n kube-system delete configmap --ignore-not-found $note
  fi
}

# Prints an item by its place in the user's files: manifests/FILE, line N.
place_of() {
  name=${1##*/}
  case $name in
  *+*.yaml)
    line=${name##*+}
    echo "manifests/${name%+*}, line $(echo "${line%.yaml}" | sed 's/^0*//')"
    ;;
  *) echo "manifests/$name" ;;
  esac
}

# Prints the objects of an item that the cluster has, one per line: kind and group for kubectl, without the version;
# namespace; name.
objects() {
  k "$@" get "$(option "$item")" "$item" --no-headers -o "custom-columns=$columns" |
    awk '{ group = $1; print (sub("/.*", "", group) ? $2 "." group : $2), $3, $4 }'
}

current() {
  [ -e "$done" ] || return 1
  # shellcheck disable=SC2086 # The options have no spaces.
  [ -z "$(find "$folder" -maxdepth 1 -name '*+*.yaml')" ] || k "$@" diff $manager -f "$folder" || return 1
  for item in $(items); do
    # shellcheck disable=SC2086
    [ ! -d "$item" ] || k "$@" diff $manager -k "$item" || return 1
  done
}

# Applies an item, and waits up to five minutes for the webhook of an earlier item to serve.
apply_item() {
  managers=$(k "$@" get "$(option "$item")" "$item" --ignore-not-found --show-managed-fields \
    -o 'jsonpath={..managedFields[*].manager}' 2>/dev/null)
  case " $managers " in
  *" kubekeel "*)
    echo "$(place_of "$item"): is an object of Kubekeel's own; remove it, and see docs/settings.md for settings" >&2
    return 1
    ;;
  esac
  tries=0
  # shellcheck disable=SC2086 # The options have no spaces.
  until said=$(k "$@" apply $manager "$(option "$item")" "$item" 2>&1); do
    case $said in
    *"failed calling webhook"*) [ $((tries += 1)) -gt 60 ] || { sleep 5 && continue; } ;;
    esac
    echo "$(place_of "$item"): is refused ($said); correct it, then deploy again" >&2
    return 1
  done
  now=$(objects "$@") || return 1
  echo "$now" >>"$list"
  # The API server refuses objects of a new kind until it has established the kind's definition.
  definitions=$(echo "$now" | awk '$1 ~ /^CustomResourceDefinition[.]/ { print "customresourcedefinition/" $3 }')
  # shellcheck disable=SC2086
  [ -z "$definitions" ] || k "$@" wait --for=condition=Established --timeout=60s $definitions >/dev/null
}

apply() {
  before=$(noted "$@") || return 1
  rm -f "$done"
  for item in $(items); do
    apply_item "$@" && printf '%s\n' "$before" | cat - "$list" | write_note "$@" || return 1
  done
  printf '%s\n' "$before" | grep . | grep -vxFf "$list" >"$list.gone"
  while read -r kind namespace object; do
    said=$(k "$@" -n "${namespace#<none>}" delete --ignore-not-found --timeout=300s "$kind" "$object" 2>&1) && continue
    case $said in
    # The API server deleted the object together with its kind.
    *"the server doesn't have a resource type"*) ;;
    *)
      echo "$kind $object: could not be deleted ($said); delete it with kubectl, then deploy again" >&2
      return 1
      ;;
    esac
  done <<END
$(tac "$list.gone")
END
  write_note "$@" <"$list" && touch "$done"
}

# Prints the workloads that are not ready yet, and fails if there are any.
ready() {
  waiting=$(noted "$@" | while read -r kind namespace object; do
    case $kind in
    Deployment.apps | DaemonSet.apps | StatefulSet.apps)
      k "$@" -n "$namespace" rollout status "$kind" "$object" --timeout=1s >/dev/null 2>&1 ||
        echo "$kind $namespace/$object is not ready"
      ;;
    Job.batch)
      k "$@" -n "$namespace" wait --for=condition=Complete "$kind/$object" --timeout=1s >/dev/null 2>&1 ||
        echo "$kind $namespace/$object is not complete"
      ;;
    esac
  done)
  [ -z "$waiting" ] || { echo "$waiting"; return 1; }
}

list=$(mktemp)
trap 'rm -f "$list" "$list.gone"' EXIT
"$action" "$@"
