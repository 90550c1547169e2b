# Shared by the scripts: packages, a private copy of PostgreSQL, throw-away servers. To be sourced by bash.
#
# Nothing is written outside $WORK, a temporary directory, except for packages. Servers listen on Unix sockets in
# $WORK and are stopped by their data directory.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PGVER=${PGVER:-15}
PGROOT=${PGROOT:-}

say() { printf '\n== %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs those of the packages that are missing.
install_packages() {
    local missing
    # dpkg-query fails where it does not know a name.
    missing=$({ dpkg-query -W -f '${Package} ${Status}\n' "$@" 2>/dev/null || true; } | awk '/ok installed$/ {print $1}' |
        sort -u | comm -13 - <(printf '%s\n' "$@" | sort -u))
    [ -z "$missing" ] && return
    say "installing $(echo $missing)"
    # Debian would make and start a cluster of its own.
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/no-main.conf >/dev/null
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

server_packages() {
    echo "postgresql-$PGVER postgresql-server-dev-$PGVER libcurl4-openssl-dev g++ make nodejs"
}

# The user that runs servers: initdb refuses root.
server_user() {
    if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi
}

# Makes $WORK, which the server's user owns, and removes it with whatever runs in it at the end.
make_work() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/rolecall.XXXXXX")
    chmod 755 "$WORK"
    chown "$(server_user)" "$WORK"
    trap 'clean_up' EXIT
    trap 'exit 130' INT TERM
}

clean_up() {
    local pidfile
    for pidfile in "$WORK"/*.pid; do
        [ -f "$pidfile" ] && kill "$(cat "$pidfile")" 2>/dev/null
    done
    for pidfile in "$WORK"/*/postmaster.pid; do
        [ -f "$pidfile" ] && as_server pg_ctl -D "$(dirname "$pidfile")" -m immediate -s stop
    done
    rm -rf "$WORK"
}

# Runs a command as the server's user with the private installation first on the path.
as_server() {
    local environment=(env "PATH=$WORK/usr/lib/postgresql/$PGVER/bin:$PATH" "HOME=$WORK" "PGHOST=$WORK" PGUSER=postgres
        PGDATABASE=postgres "PG_CONFIG=$WORK/usr/lib/postgresql/$PGVER/bin/pg_config")
    if [ "$(id -u)" = 0 ]; then
        (cd "$WORK" && runuser -u postgres -- "${environment[@]}" "$@")
    else
        (cd "$WORK" && "${environment[@]}" "$@")
    fi
}

# A private copy of the server under PGROOT: PostgreSQL finds its libraries from its own binary's path, so that our
# extension is installed there and nowhere else.
private_postgres() {
    mkdir -p "$WORK/usr/lib/postgresql" "$WORK/usr/share/postgresql"
    cp -a "$PGROOT/usr/lib/postgresql/$PGVER" "$WORK/usr/lib/postgresql/"
    # Debian has it apart from the rest.
    [ -d "$PGROOT/usr/share/postgresql" ] && cp -a "$PGROOT/usr/share/postgresql/$PGVER" "$WORK/usr/share/postgresql/"
    ln -s /usr/include "$WORK/usr/include"
    ln -s /usr/lib/x86_64-linux-gnu "$WORK/usr/lib/" 2>/dev/null || true
    [ "$(id -u)" = 0 ] && chown -R postgres: "$WORK/usr"
    return 0
}

# Copies the checkout to $WORK/$1, without what a build left in it.
copy_checkout() {
    mkdir -p "$WORK/$1"
    tar -C "$ROOT" --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude=./build -cf - . |
        tar -C "$WORK/$1" -xf -
    [ "$(id -u)" = 0 ] && chown -R postgres: "$WORK/$1"
    return 0
}

# start_server NAME [SETTING...]: a cluster in $WORK/NAME on a Unix socket in $WORK.
start_server() {
    local name=$1
    shift
    as_server initdb -D "$WORK/$name" -A trust -U postgres --no-locale -E UTF8 --no-sync >/dev/null
    {
        echo "shared_preload_libraries = 'rolecall'"
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$WORK'"
        echo "fsync = off"
        printf '%s\n' "$@"
    } | as_server tee -a "$WORK/$name/postgresql.conf" >/dev/null
    as_server pg_ctl -D "$WORK/$name" -l "$WORK/$name.log" -w -s start || {
        cat "$WORK/$name.log"
        return 1
    }
}

# wait_until WHAT COMMAND...: looks every 50 ms, for 30 s.
wait_until() {
    local what=$1 i
    shift
    for ((i = 0; i < 600; i++)); do
        "$@" && return
        sleep 0.05
    done
    echo "timed out waiting for $what" >&2
    return 1
}
