#!/usr/bin/env bash
# The composed system, from outside: index ./photos, search in both languages, illustrate. Needs `docker compose up`.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 777 "$work"
cp demo/articles/two-days-without-a-plan.en.md "$work/post.md"

xcomp() { docker compose run --rm -T -v "$work:/here" xcomp "$@"; }

xcomp index server:/photos
xcomp search "a cup of coffee" -k 1 --json | grep -q '"rank": *1'
xcomp search 一只猫 -k 1 --json | grep -q '"rank": *1'
xcomp illustrate post.md
test -s "$work/post.illustrated/article.html"
ls "$work"/post.illustrated/images/*
echo "smoke test passed"
