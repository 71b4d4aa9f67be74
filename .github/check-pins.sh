#!/usr/bin/env bash
# Compares the tags in pins.txt with the digests noted there; --write notes the digests that are missing.
set -euo pipefail
cd "$(dirname "$0")"

digest() {
  if [ "$1" = action ]; then
    git ls-remote "https://github.com/$2" "refs/tags/$3^{}" "refs/tags/$3" | sort -rk2 | head -n 1 | cut -f 1
  else
    docker buildx imagetools inspect "$2:$3" --format '{{.Manifest.Digest}}'
  fi
}

failed=0
written=""
while read -r kind name tag noted; do
  if [ "$kind" != action ] && [ "$kind" != image ]; then
    written+="$kind $name $tag $noted"$'\n'
    continue
  fi
  found="$(digest "$kind" "$name" "$tag")"
  if [ -z "$found" ]; then
    echo "$kind $name:$tag: its digest cannot be read" >&2
    failed=1
  elif [ "$noted" = - ]; then
    echo "$kind $name:$tag has no digest in pins.txt; it is $found now" >&2
  elif [ "$noted" != "$found" ]; then
    echo "$kind $name:$tag has moved from $noted to $found" >&2
    failed=1
  fi
  [ "$noted" = - ] && [ -n "$found" ] && noted="$found"
  written+="$kind $name $tag $noted"$'\n'
done < pins.txt
if [ "${1:-}" = --write ]; then
  printf '%s' "$written" > pins.txt
fi
exit "$failed"
