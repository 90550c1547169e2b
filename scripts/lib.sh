# shellcheck shell=bash
# Shared by the scripts: packages, a private copy of PostgreSQL, throw-away servers. Bash scripts source this file.
#
# Except for packages, nothing is written outside $WORK, a temporary directory. Servers listen on Unix sockets in $WORK
# and are stopped by their data directory.

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
    # dpkg-query fails for a name that it does not know.
    missing=$({ dpkg-query -W -f '${Package} ${Status}\n' "$@" 2>/dev/null || true; } | awk '/ok installed$/ {print $1}' |
        sort -u | comm -13 - <(printf '%s\n' "$@" | sort -u))
    [ -z "$missing" ] && return
    say "installing ${missing//$'\n'/ }"
    # Keeps Debian from creating and starting a cluster of its own.
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/no-main.conf >/dev/null
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# shellcheck disable=SC2034
server_packages=("postgresql-$PGVER" "postgresql-server-dev-$PGVER" libcurl4-openssl-dev g++ make nodejs)

# Prints the user that runs servers. It is not root, which initdb refuses.
server_user() {
    if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi
}

# Makes $WORK, owned by the server's user. At the end, removes it together with everything that runs in it.
make_work() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/rolecall.XXXXXX")
    chmod 755 "$WORK"
    chown "$(server_user)" "$WORK"
    trap 'clean_up' EXIT
    trap 'exit 130' INT TERM HUP
}

# Prints the processes that this script started, and in turn their children.
descendants() {
    cat /proc/[0-9]*/status 2>/dev/null | awk -v root=$$ '
        /^Pid:/ {pid = $2}
        /^PPid:/ {children[$2] = children[$2] " " pid}
        END {
            known = children[root]
            while (known) {
                n = split(known, pids, " ")
                known = ""
                for (i = 1; i <= n; i++) {
                    print pids[i]
                    known = known children[pids[i]]
                }
            }
        }'
}

# Prints those of these processes that still run.
still_running() {
    local pid
    for pid in "$@"; do
        [ -d "/proc/$pid" ] && ! grep -qs '^State:.*[XZ] ' "/proc/$pid/status" && echo "$pid"
    done
    return 0
}

# end_processes SIGNAL PID...: sends the signal, and SIGKILL to those that still run after ten seconds.
end_processes() {
    local signal=$1 i left
    shift
    left=$(still_running "$@")
    [ -z "$left" ] && return 0
    as_root kill "-$signal" $left 2>/dev/null || true
    for ((i = 0; i < 100; i++)); do
        left=$(still_running $left)
        [ -z "$left" ] && return 0
        sleep 0.1
    done
    as_root kill -KILL $left 2>/dev/null || true
}

# An interruption of this script must also end what the script started. A postmaster is not its child, so servers are
# found by their data directories.
clean_up() {
    local pidfile pid
    trap '' INT TERM HUP
    # shellcheck disable=SC2046
    end_processes TERM $(descendants)
    for pidfile in "$WORK"/*.pid; do
        [ -f "$pidfile" ] && kill "$(cat "$pidfile")" 2>/dev/null
    done
    find "$WORK" -name postmaster.pid 2>/dev/null | while read -r pidfile; do
        pid=$(head -n 1 "$pidfile")
        [ "/proc/$pid/cwd" -ef "$(dirname "$pidfile")" ] && end_processes QUIT "$pid"
    done
    rm -rf "$WORK"
}

# Runs a command as the server's user with the private installation first on the path.
as_server() {
    local environment=(env "PATH=$WORK/usr/lib/postgresql/$PGVER/bin:$PATH" "HOME=$WORK" "TMPDIR=$WORK"
        "PGHOST=$WORK" PGUSER=postgres PGDATABASE=postgres "PG_CONFIG=$WORK/usr/lib/postgresql/$PGVER/bin/pg_config")
    if [ "$(id -u)" = 0 ]; then
        (cd "$WORK" && runuser -u postgres -- "${environment[@]}" "$@")
    else
        (cd "$WORK" && "${environment[@]}" "$@")
    fi
}

# Makes a private copy of the server under PGROOT. PostgreSQL finds its libraries from the path of its own binary, so
# the extension is installed in this copy and nowhere else.
private_postgres() {
    mkdir -p "$WORK/usr/lib/postgresql" "$WORK/usr/share/postgresql"
    cp -a "$PGROOT/usr/lib/postgresql/$PGVER" "$WORK/usr/lib/postgresql/"
    # Debian keeps this directory apart.
    [ -d "$PGROOT/usr/share/postgresql" ] && cp -a "$PGROOT/usr/share/postgresql/$PGVER" "$WORK/usr/share/postgresql/"
    ln -s /usr/include "$WORK/usr/include"
    ln -s "/usr/lib/$(uname -m)-linux-gnu" "$WORK/usr/lib/"
    [ "$(id -u)" = 0 ] && chown -R postgres: "$WORK/usr"
    return 0
}

# Copies the checkout to $WORK/$1, without the files of a build.
copy_checkout() {
    mkdir -p "$WORK/$1"
    tar -C "$ROOT" --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude=./build -cf - . |
        tar -C "$WORK/$1" -xf -
    [ "$(id -u)" = 0 ] && chown -R postgres: "$WORK/$1"
    return 0
}

# start_server NAME [SETTING...]: starts a cluster in $WORK/NAME on a Unix socket in $WORK.
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

# wait_until WHAT COMMAND...: runs the command every 50 ms until it succeeds, for at most 30 s.
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
