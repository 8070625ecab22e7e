#!/bin/sh
# The manifests that a master ran before a change: kept until the new ones serve, or brought back.
#
# "$0" is keep, restore or drop. keep FOLDER FILE...; restore FOLDER HOST MANIFESTS; drop FOLDER
set -eu
word=$0 folder=$1
shift

case $word in
keep)
  # What is there was kept by a run that was cut, and has served.
  [ ! -d "$folder" ] || exit 0
  rm -rf "$folder.part"
  mkdir -m 700 "$folder.part"
  cp -p "$@" "$folder.part/"
  mv -T "$folder.part" "$folder"
  ;;
restore)
  [ -d "$folder" ] || exit 0
  for file in "$folder"/*.yaml; do
    name=${file##*/}
    # kubelet takes no file for a pod whose name begins with a dot.
    cp -p "$file" "$2/.$name.kubekeel-new"
    mv -f "$2/.$name.kubekeel-new" "$2/$name"
    echo "$1: ${name%.yaml} is as before again, since the new one did not come to serve"
  done
  rm -rf "$folder"
  ;;
drop)
  rm -rf "$folder"
  ;;
esac
