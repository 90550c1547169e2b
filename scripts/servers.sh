# shellcheck shell=bash
# Servers that this machine has no package for: other versions in chroots, and one with assertions. They are kept in
# $roots and built if missing. Bash scripts source this file after lib.sh.

roots=${ROLECALL_ROOTS:-/var/tmp/rolecall-roots}
declare -A suites=([17]=trixie [18]=forky)

# once NAME COMMAND...: builds what is not complete yet. If another process is building it, waits for that process.
once() {
    local name=$1
    shift
    as_root mkdir -p "$roots"
    as_root touch "$roots/$name.lock"
    as_root chown "$(id -un)" "$roots/$name.lock"
    (
        flock 9 || exit
        [ -f "$roots/$name/complete-2" ] && exit
        say "making $name in $roots"
        "$@"
    ) 9>>"$roots/$name.lock"
}

# Builds a chroot with another version of PostgreSQL. It includes security updates where they exist, because pg_upgrade
# needs a server that is not older than the one it upgrades.
make_root() {
    local version=$1 mirror security sources
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort | uniq -c | sort -rn | awk 'NR == 1 {print $2}')
    security=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 security)
    sources=("deb $mirror ${suites[$version]} main")
    [ "$version" = 17 ] && [ -n "$security" ] && sources+=("deb $security ${suites[$version]}-security main")
    as_root rm -rf "$roots/$version"
    as_root mmdebstrap --quiet --variant=minbase --mode=root \
        --include="postgresql-$version,libpq-dev,g++,make,libcurl4-openssl-dev,postgresql-$version-pgtap,libipc-run-perl,libtap-parser-sourcehandler-pgtap-perl,nodejs,openssl,ca-certificates" \
        --aptopt='Acquire::Check-Valid-Until "false"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/{doc,man,locale}/*' \
        --customize-hook='chroot "$1" sh -c "cd /tmp && apt-get download postgresql-server-dev-'"$version"' && dpkg -x postgresql-server-dev-*.deb / && rm *.deb"' \
        --customize-hook='touch "$1/complete-2"' "${suites[$version]}" "$roots/$version" "${sources[@]}"
}

# Builds a server with assertions, for which there is no package, from Debian's source.
make_assertions() {
    local to=$roots/$PGVER-assert build version apt
    build=$(as_root mktemp -d "$roots/$PGVER-assert.XXXXXX")
    as_root chown "$(id -un)" "$build"
    mkdir -p "$build/lists/partial" "$build/source"
    apt-get indextargets --format 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | sort -u >"$build/sources.list"
    apt=(-o "Dir::Etc::sourcelist=$build/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$build/lists"
        -o "APT::Sandbox::User=$(id -un)")
    apt-get -qq "${apt[@]}" update
    # An archive may list a version that it does not have yet.
    for version in $(apt-cache "${apt[@]}" showsrc "postgresql-$PGVER" | awk '/^Version:/ {print $2}' | sort -Vru); do
        (cd "$build/source" && apt-get -qq "${apt[@]}" source "postgresql-$PGVER=$version") && break
    done
    (
        cd "$build/source/postgresql-$PGVER"-*/ &&
            ./configure -q "--prefix=/usr/lib/postgresql/$PGVER" --enable-cassert --enable-debug --enable-tap-tests --with-openssl \
                --with-icu --with-libxml --without-readline CFLAGS=-O1 &&
            make -s -j2 world-bin &&
            make -s DESTDIR="$build/root" install-world-bin
    ) || return
    cp "/usr/share/postgresql/$PGVER/extension"/pgtap* "$build/root/usr/lib/postgresql/$PGVER/share/extension/" || return
    touch "$build/root/complete-2"
    as_root rm -rf "$to"
    as_root mv "$build/root" "$to"
    as_root rm -rf "$build"
}

# old_install ROOT FROM: copies a server of this machine, including the library, into a chroot, as the old installation
# for pg_upgrade. Also copies the shared libraries that the server needs and the chroot does not have.
old_install() {
    local root=$1 from=$2 to=$1/old/usr library version
    version=$(basename "$from"/lib/postgresql/*)
    as_root mkdir -p "$to/lib/postgresql" "$to/share/postgresql"
    as_root cp -a "$from/lib/postgresql/$version" "$to/lib/postgresql/"
    as_root cp -a "$from/share/postgresql/$version" "$to/share/postgresql/"
    as_root rm -f "$to/lib/postgresql/$version/lib/llvmjit.so"  # LLVM is not copied
    ldd "$to/lib/postgresql/$version/bin/"* "$to/lib/postgresql/$version/lib/rolecall.so" 2>/dev/null |
        awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | while read -r library; do
        [ -e "$root/usr/lib/$(uname -m)-linux-gnu/${library##*/}" ] || as_root cp -L "$library" "$to/lib/postgresql/$version/lib/"
    done
}

# in_root VERSION COMMAND [SETTING...]: runs scripts/check in a chroot, on a copy of the checkout.
in_root() {
    local version=$1 root=$roots/$1 mode=$2
    shift 2
    as_root mkdir -p "$root/checkout"
    tar -C "$WORK/src" --exclude=./build -cf - . | as_root tar -C "$root/checkout" -xf -
    as_root unshare -m --pid --fork --kill-child bash -ec "mount -t proc proc $root/proc; mount -t tmpfs tmpfs $root/dev/shm
        exec chroot $root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin PGVER=$version LANG=C.UTF-8 $* /checkout/scripts/check $mode"
}

# Removes the files that a run in a chroot leaves there.
sweep_root() {
    as_root rm -rf "$roots/$1"/{checkout,old,tmp/rolecall.*}
}
