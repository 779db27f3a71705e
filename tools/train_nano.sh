#!/usr/bin/env bash
# A nano engine from nothing: some six hours on two cores. train_nano.sh RUNS_FOLDER BUNDLE_FOLDER
# The one that ships went the same way in more and shorter steps: engine/bundles/nano.md names them.
#
# NANO_SMALLER=4000 divides every number of chips and samples, to see within minutes that each step works; such a
# model finds nothing, so there is nothing to calibrate. NANO_PRETRAIN holds more options of each pretraining.
set -euo pipefail
runs=$(realpath -m "$1") bundle=$(realpath -m "$2")
smaller=${NANO_SMALLER:-1} more=${NANO_PRETRAIN:-}
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$runs"

engine() { python -m engine.cli "$@"; }
chips() { local n=$(($1 / smaller)); echo $((n < 32 ? 32 : n)); }
samples() { local n=$(($1 / smaller)); echo $((n < 8 ? 8 : n)); }

# shellcheck disable=SC2086  # options are words
engine pretrain "$runs/first" --chips "$(chips 20000)" --seed 1 --vision-samples "$(samples 16000)" \
    --decoder-samples "$(samples 32000)" --joint-samples "$(samples 24000)" $more
# shellcheck disable=SC2086
engine pretrain "$runs/second" --chips "$(chips 40000)" --seed 4 --start "$runs/first" \
    --vision-samples "$(samples 90000)" --decoder-samples "$(samples 96000)" \
    --joint-samples "$(samples 60000)" $more
# shellcheck disable=SC2086
engine pretrain "$runs/third" --chips "$(chips 74000)" --seed 12 --start "$runs/second" --batch 16 \
    --vision-samples 0 --decoder-samples 0 --joint-samples "$(samples 160000)" \
    --pairs "$(chips 32000)" --task-samples "$(samples 90000)" $more
# shellcheck disable=SC2086
engine pretrain "$runs/lean" --chips "$(chips 74000)" --seed 21 --start "$runs/third" \
    --lean-samples "$(samples 126000)" $more
python tools/golden_chips.py "$runs/golden.npz"
tasks=(detection description counting localisation classification change)
raw=$runs/raw bits=--int8
[ "$smaller" = 1 ] || { raw=$bundle bits=--no-int8; }
engine export "$runs/lean/checkpoint" --out "$raw" --name nano --chips "$runs/golden.npz" $bits \
    --record "$runs/lean/lean/run.json" --score-odds 0.2,0.8,0 "${tasks[@]/#/--task=}"
[ "$smaller" != 1 ] || engine calibrate "$raw" --out "$bundle" --chips 2000 --pairs 800
engine evaluate "$bundle" --frozen --chips "$(chips 2500)" --out "$runs/evaluation.json"
