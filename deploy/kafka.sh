#!/usr/bin/env bash
# One Apache Kafka broker (KRaft) of our own: kafka.sh start | stop | status
#
# Jars come from Maven Central; data, log and address lie under .services/kafka. The address of the
# running broker is the one line of .services/kafka/bootstrap.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HOME_DIR=$SERVICES/kafka
LIBS=$SERVICES/kafka/libs
PID=$HOME_DIR/pid
LOG=$HOME_DIR/server.log
CONFIG=$HOME_DIR/server.properties

running() { [ -f "$PID" ] && kill -0 "$(cat "$PID")" 2>/dev/null; }

tools() {
    local missing=()
    command -v java >/dev/null || missing+=(default-jre-headless)
    [ -e "$LIBS/complete" ] || command -v mvn >/dev/null || missing+=(maven)
    [ ${#missing[@]} -eq 0 ] && return
    say "Apache Kafka needs Java 17 and Maven. A broker that runs already does as well: FUSAR_KAFKA__BOOTSTRAP=host:port"
    ensure_packages "what Kafka needs" "${missing[@]}"
}

jars() {
    [ -e "$LIBS/complete" ] && return
    say "fetching Apache Kafka's jars (43 MB) from Maven Central"
    mkdir -p "$LIBS"
    mvn -q -B -Dstyle.color=never -f "$ROOT/deploy/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$LIBS" >&2
    touch "$LIBS/complete"
}

java_kafka() { java "-Dlog4j2.configurationFile=$ROOT/deploy/kafka/log4j2.properties" -cp "$LIBS/*" "$@"; }

format() {
    [ -f "$HOME_DIR/data/meta.properties" ] && return
    local port controller
    port=$(free_port 19092)
    controller=$(free_port $((port + 1)))
    cat >"$CONFIG" <<END
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
log.dirs=$HOME_DIR/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
END
    local id
    id=$(java_kafka kafka.tools.StorageTool random-uuid 2>/dev/null | tail -1)
    java_kafka kafka.tools.StorageTool format -t "$id" -c "$CONFIG" --standalone >"$HOME_DIR/format.log" 2>&1 ||
        die "could not format Kafka's storage: see $HOME_DIR/format.log"
}

start() {
    if running; then
        say "Kafka runs already on $(cat "$HOME_DIR/bootstrap")"
        return
    fi
    tools
    mkdir -p "$HOME_DIR"
    jars
    format
    local address port
    address=$(sed -n 's,^advertised.listeners=PLAINTEXT://,,p' "$CONFIG")
    port=${address##*:}
    port_is_free "$port" || die "port $port, Kafka's, is taken: stop what uses it, or remove $HOME_DIR/data to choose another"
    (
        cd "$HOME_DIR"
        exec setsid java -Xms128m -Xmx512m "-Dlog4j2.configurationFile=$ROOT/deploy/kafka/log4j2.properties" \
            -cp "$LIBS/*" kafka.Kafka "$CONFIG" </dev/null >"$LOG" 2>&1
    ) &
    echo $! >"$PID"
    for _ in $(seq 720); do
        if grep -q "Kafka Server started" "$LOG" 2>/dev/null; then
            echo "$address" >"$HOME_DIR/bootstrap"
            say "Kafka runs on $address"
            return
        fi
        running || die "Kafka did not start: see $LOG"
        sleep 0.25
    done
    stop
    die "Kafka did not get ready within three minutes: see $LOG"
}

stop() {
    running || { rm -f "$PID" "$HOME_DIR/bootstrap"; return; }
    local pid
    pid=$(cat "$PID")
    kill "$pid"
    for _ in $(seq 120); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.25
    done
    kill -0 "$pid" 2>/dev/null && kill -9 "$pid"
    rm -f "$PID" "$HOME_DIR/bootstrap"
    say "Kafka stopped"
}

case "${1:-}" in
start) start ;;
stop) stop ;;
status) if running; then echo "running $(cat "$HOME_DIR/bootstrap")"; else echo stopped; exit 3; fi ;;
*) die "usage: kafka.sh start | stop | status" ;;
esac
