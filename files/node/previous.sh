#!/bin/sh
# Keeps the files and links that a host ran with before a change, and restores them if the new ones do not serve.
#
# "$0" is keep, restore or drop. keep FOLDER PATH...; restore FOLDER HOST PATH...; drop FOLDER PATH...
# Restore puts the files back in this order, so manifests come last.
set -eu
word=$0 folder=$1
shift

there() { [ -e "$1" ] || [ -L "$1" ]; }

# kubelet ignores files whose names begin with a dot.
copy() {
  mkdir -p "${2%/*}"
  cp -pP "$1" "${2%/*}/.${2##*/}.kubekeel-new"
  mv -fT "${2%/*}/.${2##*/}.kubekeel-new" "$2"
}

case $word in
keep)
  [ -d "$folder" ] || mkdir -m 700 "$folder"
  for path; do
    # An interrupted run already kept the file that served.
    there "$folder$path" || copy "$path" "$folder$path"
  done
  ;;
restore)
  host=$1
  shift
  for path; do
    there "$folder$path" || continue
    copy "$folder$path" "$path"
    rm "$folder$path"
    name=${path##*/}
    echo "$host: restored the previous ${name%.yaml}, because the new one did not serve"
  done
  ;;
drop)
  for path; do
    rm -f "$folder$path"
  done
  ;;
esac
# The folder may still hold files of another step.
[ "$word" = keep ] || find "$folder" -depth -type d -empty -delete 2>/dev/null || :
