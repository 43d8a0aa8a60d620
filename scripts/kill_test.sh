#!/usr/bin/env bash
# Kills a training run at random moments of each phase (start, sampling, scoring, update, evaluation, writing a checkpoint),
# resumes it each time, and compares the end with a run that was left alone. At 12 kills or more each phase has to be hit.
# Needs only the files of the repository and a built pan-ppo.
#
#   scripts/kill_test.sh [--binary FILE] [--kills N] [--seed N] [--keep DIR]     20 kills take about two minutes
#
#   --binary FILE   the program (default: build/release/bin/pan-ppo)
#   --kills N       how often the run is killed (default 20), the phases in turn
#   --seed N        of the moments (default 1)
#   --keep DIR      leave both runs in this new folder
#
# Exit code: 0 the same bit for bit, 1 a difference or a failed resume, 2 usage.
case "${1:-}" in -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(dirname "${BASH_SOURCE[0]}")
exec python3 "$here/kill_test.py" "$@"
