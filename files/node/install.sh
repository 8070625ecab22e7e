# Installs packages by the host's package manager, under the names that it uses.
: "${host?}" "${apt_get?}" "${dnf?}" "${zypper?}"
set -eu

# shellcheck disable=SC2086 # A word for each package.
if command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  # A host that has just started may be installing updates.
  install() { apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 $apt_get; }
  # That option does not cover the lock of the package lists.
  update() {
    waited=0
    until found=$(apt-get update -q 2>&1); do
      case $found in *'Could not get lock'*) waited=$((waited + 1)) ;; *) waited=600 ;; esac
      [ $waited -lt 600 ] || { echo "$found"; return 1; }
      sleep 1
    done
  }
  install || { update && install; }
elif command -v dnf >/dev/null; then
  dnf install -q -y $dnf
elif command -v zypper >/dev/null; then
  zypper --non-interactive --quiet install --no-recommends $zypper
else
  echo "$host: no apt-get, dnf or zypper here; install $apt_get by hand"
  exit 1
fi
