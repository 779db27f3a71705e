#!/usr/bin/env bash
# The shipped nano engine from nothing: about two hours on two cores. train_nano.sh RUNS_FOLDER BUNDLE_FOLDER
set -euo pipefail
runs=$1 bundle=$2
engine() { python -m engine.cli "$@"; }
both() { ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m engine.cli "$@"; }

engine pretrain "$runs/first" --chips 20000 --seed 1 \
    --vision-samples 16000 --decoder-samples 32000 --joint-samples 24000
engine pretrain "$runs/second" --chips 20000 --seed 1 --start "$runs/first" \
    --vision-samples 30000 --decoder-samples 96000 --joint-samples 44000
engine dataset "$runs/data" --chips 4000 --seed 77 --validation 400
both train --stage 1 --preset nano --data "$runs/data" --base "$runs/second/checkpoint" --out "$runs/stage1"
both train --stage 2 --preset nano --data "$runs/data" --base "$runs/stage1" --out "$runs/stage2"
engine merge "$runs/stage2" --out "$runs/merged"
python tools/golden_chips.py "$runs/golden.npz"
engine export "$runs/merged" --out "$bundle" --name nano --chips "$runs/golden.npz" \
    --task detection --task description --task counting \
    --record "$runs/stage2/run.json"
engine evaluate "$bundle" --chips 2000 --seed 20261122 --out "$runs/evaluation.json"
