#!/usr/bin/env bash
# Print the FUSAR_ settings that reach our own running services and the demo's database.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [ -f "$SERVICES/postgis.url" ]; then
    url=$(cat "$SERVICES/postgis.url")
    echo "export FUSAR_STORE__URL=${url%/postgres}/fusar_demo"
fi
if [ -f "$SERVICES/kafka/bootstrap" ]; then
    echo "export FUSAR_KAFKA__BOOTSTRAP=$(cat "$SERVICES/kafka/bootstrap")"
fi
if [ -f "$ROOT/.demo/scenes/alphaearth/index.json" ]; then
    echo "export FUSAR_PRIOR__INDEX=$ROOT/.demo/scenes/alphaearth/index.json"
fi
