#!/bin/sh
# The manifests that a master ran before a change: kept until the new ones serve, or restored.
#
# "$0" is keep, restore or drop. keep FOLDER MANIFEST...; restore FOLDER HOST MANIFEST...; drop FOLDER MANIFEST...
set -eu
word=$0 folder=$1
shift

case $word in
keep)
  [ -d "$folder" ] || mkdir -m 700 "$folder"
  for manifest; do
    name=${manifest##*/}
    # An interrupted run kept the one that has served.
    [ ! -e "$folder/$name" ] || continue
    cp -p "$manifest" "$folder/.$name"
    mv "$folder/.$name" "$folder/$name"
  done
  ;;
restore)
  host=$1
  shift
  for manifest; do
    name=${manifest##*/} manifests=${manifest%/*}
    [ -e "$folder/$name" ] || continue
    # kubelet takes no file for a pod whose name begins with a dot.
    cp -p "$folder/$name" "$manifests/.$name.kubekeel-new"
    mv -f "$manifests/.$name.kubekeel-new" "$manifest"
    rm "$folder/$name"
    echo "$host: ${name%.yaml} is as before again, since the new one did not come to serve"
  done
  ;;
drop)
  for manifest; do
    rm -f "$folder/${manifest##*/}"
  done
  ;;
esac
# Manifests of another step may still be there.
[ "$word" = keep ] || rmdir "$folder" 2>/dev/null || :
