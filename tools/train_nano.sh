#!/usr/bin/env bash
# The shipped nano engine from nothing: some three hours on two free cores. train_nano.sh RUNS_FOLDER BUNDLE_FOLDER
set -euo pipefail
runs=$1 bundle=$2
engine() { python -m engine.cli "$@"; }
both() { ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m engine.cli "$@"; }

engine pretrain "$runs/first" --chips 20000 --seed 1 \
    --vision-samples 16000 --decoder-samples 32000 --joint-samples 24000
engine pretrain "$runs/second" --chips 20000 --seed 1 --start "$runs/first" \
    --vision-samples 30000 --decoder-samples 96000 --joint-samples 44000
# vision is what lags: it goes on alone, at a constant rate, before both learn together again
engine pretrain "$runs/third" --chips 40000 --seed 3 --start "$runs/second" --no-decay \
    --vision-samples 12800 --decoder-samples 0 --joint-samples 0
engine pretrain "$runs/fourth" --chips 44000 --seed 4 --batch 16 --start "$runs/third" --no-decay \
    --vision-samples 24736 --decoder-samples 0 --joint-samples 0
engine pretrain "$runs/fifth" --chips 44000 --seed 4 --batch 16 --start "$runs/fourth" --text-every 2 \
    --vision-samples 0 --decoder-samples 0 --joint-samples 29920
engine dataset "$runs/data" --chips 5000 --pairs 900 --seed 78 --validation 250
both train --stage 1 --preset nano --data "$runs/data" --base "$runs/fifth/checkpoint" --out "$runs/stage1"
both train --stage 2 --preset nano --data "$runs/data" --base "$runs/stage1" --out "$runs/stage2"
engine merge "$runs/stage2" --out "$runs/merged"
python tools/golden_chips.py "$runs/golden.npz"
engine export "$runs/merged" --out "$bundle" --name nano --chips "$runs/golden.npz" \
    --task detection --task description --task counting --task localisation --task classification \
    --task landcover --task change --task question --record "$runs/stage2/run.json"
