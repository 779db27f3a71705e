# Shared by the service scripts. Source it; it sets ROOT and SERVICES.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SERVICES=${FUSAR_SERVICES:-$ROOT/.services} # where everything of our own services lies
mkdir -p "$SERVICES"

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# ensure_packages WHAT PACKAGE...: install Debian packages when we may, else say what is missing.
ensure_packages() {
    local what=$1
    shift
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $what: $*"
        export DEBIAN_FRONTEND=noninteractive
        if ! apt-get install -y -qq --no-install-recommends "$@" >"$SERVICES/apt.log" 2>&1; then
            apt-get update -qq >"$SERVICES/apt.log" 2>&1 || say "apt-get update failed: see $SERVICES/apt.log"
            apt-get install -y -qq --no-install-recommends "$@" >>"$SERVICES/apt.log" 2>&1 ||
                die "could not install $what ($*): see $SERVICES/apt.log"
        fi
    else
        die "$what is missing. Install it (on Debian or Ubuntu, as root: apt-get install $*)."
    fi
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FROM: the first free port of the loopback from FROM upwards.
free_port() {
    local port=$1
    until port_is_free "$port"; do port=$((port + 1)); done
    echo "$port"
}
