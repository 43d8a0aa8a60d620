#!/usr/bin/env bash
# Sets up what is missing and builds the program: build/release/bin/pan-ppo
case "${1:-}" in -h | --help) sed -n '2s/^# //p' "$0"; exit 0 ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
scripts/setup.sh
mkdir -p build
configure_and_build build/release pan-ppo
say "built build/release/bin/pan-ppo"
