#!/usr/bin/env bash
# A PostGIS cluster of our own: postgis.sh start | stop | status
#
# Never the system's: own data folder under .services/postgres, own port, no socket file, password
# authentication. The URL of the running cluster's administrator is the one line of
# .services/postgis.url (mode 600).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LINK=$SERVICES/postgres
URL=$SERVICES/postgis.url
USER_NAME=fusar

# PostgreSQL refuses to run as root: there, every command of it runs as the packages' own user.
as_owner() {
    if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

newest_bin() {
    local control
    for control in $(ls -d /usr/lib/postgresql/*/bin/pg_ctl 2>/dev/null | sort -t/ -k5 -V -r); do
        local bin=${control%/pg_ctl}
        local version=${bin#/usr/lib/postgresql/}
        version=${version%/bin}
        if [ -e "/usr/share/postgresql/$version/extension/postgis.control" ]; then
            echo "$bin"
            return
        fi
    done
    local found # elsewhere than Debian, where one version is on the PATH
    found=$(command -v pg_ctl) && [ -e "$(pg_config --sharedir)/extension/postgis.control" ] && dirname "$found"
    return 0
}

tools() {
    BIN=$(newest_bin)
    [ -n "$BIN" ] && return
    say "PostgreSQL 15 or newer with PostGIS 3 is missing. A database that runs already does as well:"
    say "  FUSAR_STORE__URL=postgresql+psycopg://user:password@host/database (with the extension postgis available)"
    # Debian's package makes and starts a cluster on port 5432 unless told not to; it is not ours.
    ensure_packages "PostgreSQL with PostGIS" postgresql postgresql-postgis
    BIN=$(newest_bin)
    [ -n "$BIN" ] || die "PostgreSQL was installed, yet no version of it with PostGIS is under /usr/lib/postgresql"
}

# The data folder must be reachable for the user postgres: a checkout under /root is not.
data_folder() {
    [ -e "$LINK" ] && return
    local place=$LINK
    if [ "$(id -u)" = 0 ] && ! as_owner test -x "$SERVICES"; then
        place=/var/tmp/fusar-postgres-$(printf %s "$SERVICES" | cksum | cut -d' ' -f1)
        say "$SERVICES cannot be entered by the user postgres: the cluster lies in $place, linked from $LINK"
        ln -s "$place" "$LINK"
    fi
    mkdir -p "$place"
    chmod 700 "$place"
    if [ "$(id -u)" = 0 ]; then chown postgres: "$place"; fi
}

running() { [ -e "$LINK/PG_VERSION" ] && as_owner "$BIN/pg_ctl" -D "$DATA" status >/dev/null 2>&1; }

init() {
    [ -e "$LINK/PG_VERSION" ] && return
    say "making a cluster in $DATA"
    local password
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && echo "$password" >"$SERVICES/postgis.password")
    local handed=$DATA.pw # initdb reads it as its own user, before it fills the folder
    [ "$(id -u)" = 0 ] && handed=$(mktemp /var/tmp/fusar-pw.XXXXXX)
    (umask 077 && echo "$password" >"$handed")
    if [ "$(id -u)" = 0 ]; then chown postgres: "$handed"; fi
    as_owner "$BIN/initdb" -D "$DATA" -U $USER_NAME --auth=scram-sha-256 --pwfile="$handed" \
        --encoding=UTF8 --locale=C.UTF-8 >"$SERVICES/initdb.log" 2>&1 || {
        rm -f "$handed"
        die "initdb failed: see $SERVICES/initdb.log"
    }
    rm -f "$handed"
}

start() {
    tools
    data_folder
    DATA=$(readlink -f "$LINK")
    init
    if running; then
        say "PostGIS runs already on port $(cat "$SERVICES/postgis.port")"
        return
    fi
    local port
    port=$(cat "$SERVICES/postgis.port" 2>/dev/null || echo 54320)
    port=$(free_port "$port")
    echo "$port" >"$SERVICES/postgis.port"
    # The default of 128 MB does not hold the indexes in which a scene's alerts look ten million detections up.
    local memory="-c shared_buffers=1GB"
    as_owner "$BIN/pg_ctl" -D "$DATA" -w -t 180 -l "$DATA/server.log" -o \
        "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=60 $memory" start >/dev/null ||
        die "PostgreSQL did not start: see $DATA/server.log"
    (umask 077 && echo "postgresql+psycopg://$USER_NAME:$(cat "$SERVICES/postgis.password")@127.0.0.1:$port/postgres" >"$URL")
    say "PostGIS runs on port $port"
}

stop() {
    BIN=$(newest_bin)
    DATA=$(readlink -f "$LINK" || true)
    if [ -n "$BIN" ] && [ -e "$LINK" ] && running; then
        as_owner "$BIN/pg_ctl" -D "$DATA" -m fast -w stop >/dev/null
        say "PostGIS stopped"
    fi
    rm -f "$URL"
}

clean() {
    stop
    if [ -L "$LINK" ]; then rm -rf "$(readlink -f "$LINK")"; fi
    rm -rf "$LINK" "$SERVICES"/postgis.*
}

status() {
    BIN=$(newest_bin)
    DATA=$(readlink -f "$LINK" || true)
    if [ -n "$BIN" ] && [ -e "$LINK" ] && running; then
        echo "running 127.0.0.1:$(cat "$SERVICES/postgis.port")"
    else
        echo stopped
        exit 3
    fi
}

case "${1:-}" in
start | stop | status | clean) "$1" ;;
*) die "usage: postgis.sh start | stop | status | clean" ;;
esac
