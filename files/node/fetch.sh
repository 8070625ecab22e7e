# Fetches one file from a web server, and accepts it only by the sha256 that the control machine gave.
# A later try, in this run or another one, continues an interrupted download.
# Standard input has settings for curl, settings for wget, and the certificate of the server's authority; each line
# begins with its kind. They are not arguments, because a proxy's URL may hold a password.
: "${host?}" "${name?}" "${url?}" "${sha256?}"
part=$sha256.part settings=fetch.conf authority=fetch.crt given=$(cat)
leave() {
  [ "$1" = 0 ] || rm -f "$name" "${name%.*}"
  [ ! -e "$part" ] || [ -s "$part" ] || rm -f "$part"
  [ -z "$given" ] || rm -f $settings $authority
}
trap 'leave $?' EXIT
tool=wget config=--no-config
[ -z "$given" ] || config=--config=$settings
! command -v curl >/dev/null || tool=curl

fail() {
  echo "$host: $1"
  exit 1
}
no_room() {
  rm -f "$part"
  fail "$(pwd)/$name could not be written; make room there (see \`df -h $(pwd)\`), then run again"
}
size() { if [ -e "$part" ]; then stat -c %s "$part"; else echo 0; fi; }
arrived() {
  [ -e "$part" ] && sha256sum --check --status 2>/dev/null <<EOF
$sha256  $part
EOF
}
get() {
  if [ $tool = curl ]; then
    curl --disable ${given:+--config $settings} --fail --silent --show-error --location --connect-timeout 20 \
      --speed-limit 1 --speed-time 60 --continue-at - --output "$part" "$url"
  else
    wget "$config" --no-verbose --tries=1 --timeout=60 --continue --output-document="$part" "$url"
  fi 2>&1
}

# For a small file, starting one more program takes as long as the download, so this starts few.
if [ -n "$given" ]; then
  for file in "$settings $tool" "$authority authority"; do
    (umask 077 && printf '%s\n' "$given" | sed -n "s/^${file#* }: //p" >"${file% *}") || no_room
  done
fi
# Delete the parts of versions that no run needs any more.
for other in *.part; do
  [ "$other" = "$part" ] || [ ! -e "$other" ] || rm -f "$other"
done

tries=5 most=$(size)
until arrived; do
  had=$(size) status=0
  said=$(get) || status=$?
  case "$tool $status $said" in
    "$tool 0 "*)
      ! arrived || break
      other=$(sha256sum "$part" | cut -d ' ' -f 1)
      rm -f "$part"
      # The part of an earlier try may have been wrong, so this tries once from the beginning.
      [ "$had" != 0 ] || fail "artifact $name: is not what this run packed (sha256 $other, from $url); publish it there \
again by python3 -m run.publish, then run again"
      ;;
    "curl 23 "* | "wget 3 "*) no_room ;;
    # The server cannot continue a download, or has no more bytes than this host.
    "curl 33 "* | *" error: 416") rm -f "$part" ;;
  esac
  if [ "$(size)" -gt "$most" ]; then
    most=$(size) tries=5
  else
    tries=$((tries - 1))
  fi
  # Take the line that has the reason.
  why=$(printf '%s\n' "$said" | sed -n -e 's|//[^/ ]*@|//...@|g' -e '/^curl: /p;/ERROR/p;$p' | head -n 1)
  [ $tries != 0 ] || fail "artifact $name: could not be fetched from $url (${why:-$tool ended with $status}); see that \
this host reaches it, and that python3 -m run.publish put it there, then run again"
  sleep 2
done
mv -f "$part" "$name"
