#!/usr/bin/env bash
# From a fresh clone to a trained model: installs what is missing, builds, trains the shipped small model with PAn-PPO on logic grids,
# evaluating before and after on puzzles that are not in training. A few minutes on two cores, build not counted.
#
#   scripts/quickstart.sh [--set key=value ...]       e.g. --set rhythm.lambda=0 for plain PPO, --set seed=2
case "${1:-}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
scripts/build.sh
step="training"
run=runs/quickstart-$(date +%Y%m%d-%H%M%S)
build/release/bin/pan-ppo train --config configs/quickstart.json --run-dir "$run" "$@"
step="showing the result"
python3 - "$run" << 'PY'
import json, pathlib, sys
run = pathlib.Path(sys.argv[1])
rows = [json.load(open(p)) for p in sorted(run.glob("eval/*/results.json"))]
if len(rows) >= 2:
    first, last = rows[0]["intervals_95"]["accuracy"], rows[-1]["intervals_95"]["accuracy"]
    def show(a):
        return f"{100 * a['value']:.1f} % [{100 * a['low']:.1f}, {100 * a['high']:.1f}]"
    print(f"accuracy on {rows[0]['num_problems']} held-out puzzles: before {show(first)}, after {show(last)}")
PY
say "the run is in $run (its README.md says what is where); more: README.md"
