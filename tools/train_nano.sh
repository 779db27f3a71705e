#!/usr/bin/env bash
# A nano engine from nothing: some four hours on two cores. train_nano.sh RUNS_FOLDER BUNDLE_FOLDER
# The one that ships went the same way in more and shorter steps: engine/bundles/nano.md names them.
set -euo pipefail
runs=$1 bundle=$2
engine() { python -m engine.cli "$@"; }

engine pretrain "$runs/first" --chips 20000 --seed 1 \
    --vision-samples 16000 --decoder-samples 32000 --joint-samples 24000
engine pretrain "$runs/second" --chips 40000 --seed 4 --start "$runs/first" \
    --vision-samples 90000 --decoder-samples 96000 --joint-samples 60000
engine pretrain "$runs/third" --chips 74000 --seed 12 --start "$runs/second" --batch 16 \
    --vision-samples 0 --decoder-samples 0 --joint-samples 160000
python tools/golden_chips.py "$runs/golden.npz"
engine export "$runs/third/checkpoint" --out "$runs/raw" --name nano --chips "$runs/golden.npz" \
    --task detection --task description --task counting --task localisation --task classification --no-int8
engine calibrate "$runs/raw" --out "$bundle" --chips 2000
engine evaluate "$bundle" --frozen --chips 2500 --out "$runs/evaluation.json"
