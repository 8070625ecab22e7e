# The user's own objects: site.sh differs|apply|ready FOLDER KUBECTL...
# FOLDER has files, and folders with a kustomization, which are applied in the order of their names. A ConfigMap notes
# what was applied, so that what is no longer in FOLDER can be deleted, and nothing else.
set -u
action=$1 folder=$2
shift 2

note=kubekeel-site
manager="--server-side --force-conflicts --field-manager=kubekeel-site"
columns=API:.apiVersion,KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name

items() { find -H "$folder" -mindepth 1 -maxdepth 1 ! -name '.*' 2>/dev/null | LC_ALL=C sort; }
option() { if [ -d "$1" ]; then echo -k; else echo -f; fi; }
noted() { "$kubectl" "$@" -n kube-system get configmap $note --ignore-not-found -o 'jsonpath={.data.objects}'; }

# As the user knows an item: manifests/FILE, line N.
told() {
  name=${1##*/}
  case $name in
  *+*.yaml)
    line=${name##*+}
    echo "manifests/${name%+*}, line $(echo "${line%.yaml}" | sed 's/^0*//')"
    ;;
  *) echo "manifests/$name" ;;
  esac
}

# The objects of an item as they are in the cluster, a line each: API version, kind, namespace, name.
objects() { "$kubectl" "$@" get "$(option "$item")" "$item" --no-headers -o "custom-columns=$columns" | sed 's/  */ /g; s/ $//'; }

# A kind of an API version as an argument: of apps/v1 Deployment.v1.apps.
kind() {
  case $1 in
  */*) echo "$2.${1#*/}.${1%/*}" ;;
  *) echo "$2" ;;
  esac
}

differs() {
  [ -n "$(noted "$@")" ] || return 1
  for item in $(items); do
    # shellcheck disable=SC2086 # They have no spaces.
    "$kubectl" "$@" diff $manager "$(option "$item")" "$item" || return 1
  done
}

apply() {
  before=$(noted "$@") || return 1
  for item in $(items); do
    # shellcheck disable=SC2086 # They have no spaces.
    if ! said=$("$kubectl" "$@" apply $manager "$(option "$item")" "$item" 2>&1); then
      echo "$(told "$item"): is refused ($said); correct it, then deploy again" >&2
      return 1
    fi
    now=$(objects "$@") || return 1
    echo "$now"
    # What is of a kind that was defined just now can be applied only once that is there.
    case $now in
    *" CustomResourceDefinition "*)
      "$kubectl" "$@" wait --for=condition=Established --timeout=60s "$(option "$item")" "$item" >&2 || return 1
      ;;
    esac
  done >"$list"
  echo "$before" | grep -v '^$' | grep -vxFf "$list" | tac | while read -r api name namespace object; do
    # Its kind may be gone, and it with that.
    "$kubectl" "$@" -n "${namespace#<none>}" delete --ignore-not-found "$(kind "$api" "$name")" "$object" 2>&1 |
      grep -v "the server doesn't have a resource type"
  done
  if [ -s "$list" ]; then
    "$kubectl" "$@" -n kube-system create configmap $note --from-file="objects=$list" --dry-run=client -o yaml |
      "$kubectl" "$@" apply --server-side --force-conflicts --field-manager=kubekeel -f -
  else
    "$kubectl" "$@" -n kube-system delete configmap --ignore-not-found $note
  fi
}

# Prints what is not ready yet.
ready() {
  waiting=$(noted "$@" | while read -r api name namespace object; do
    case $name in
    Deployment | DaemonSet | StatefulSet)
      "$kubectl" "$@" -n "$namespace" rollout status "$(kind "$api" "$name")" "$object" --timeout=1s >/dev/null 2>&1 ||
        echo "$name $namespace/$object is not ready"
      ;;
    Job)
      "$kubectl" "$@" -n "$namespace" wait --for=condition=Complete "job/$object" --timeout=1s >/dev/null 2>&1 ||
        echo "$name $namespace/$object is not complete"
      ;;
    esac
  done)
  [ -z "$waiting" ] || { echo "$waiting"; return 1; }
}

kubectl=$1
shift
list=$(mktemp)
trap 'rm -f "$list"' EXIT
"$action" "$@"
