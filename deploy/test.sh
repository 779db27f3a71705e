#!/usr/bin/env bash
# All tests on a real Kafka and a real PostGIS; stops those services that it started. test.sh [PYTEST ARGUMENT...]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

started=()
cleanup() { for service in "${started[@]}"; do "deploy/$service.sh" stop || true; done; }
trap cleanup EXIT

for service in postgis kafka; do
    if ! "deploy/$service.sh" status >/dev/null; then
        "deploy/$service.sh" start
        started+=("$service")
    fi
done
FUSAR_TEST_REQUIRE_SERVICES=1 .venv/bin/pytest "$@"
