#!/usr/bin/env bash
# Kills a training run at random moments of each phase (start, sampling, scoring, update, evaluation, writing a checkpoint),
# resumes it each time, and compares the end with a run that was left alone. Each phase is hit at least once, and at
# least 3 kills leave a half-written checkpoint; further kills follow where the first ones missed.
# Needs only the files of the repository and a built pan-ppo.
#
#   scripts/kill_test.sh [--binary FILE] [--kills N] [--seed N] [--keep DIR]     24 kills take two minutes on an idle machine
#
#   --binary FILE   the program (default: build/release/bin/pan-ppo)
#   --kills N       how often a run is killed (default 24, at least 20), the phases in turn
#   --seed N        of the moments (default 1)
#   --keep DIR      leave the runs in this new folder
#
# Exit code: 0 the same bit for bit, 1 a difference or a failed resume, 2 usage.
case "${1:-}" in -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(dirname "${BASH_SOURCE[0]}")
exec python3 "$here/kill_test.py" "$@"
