#!/bin/sh
# Programs that some tests need: Debian packages, and pnpm and yarn from npm's registry into build/test-tools. A program
# `apk` is used where it is in PATH or in that folder: Debian has none. Without root or a
# network those tests are skipped and say why.
set -u
tools="$(dirname "$0")/../build/test-tools"
if command -v npm >/dev/null 2>&1 && [ ! -e "$tools/node_modules/yarn" ]; then
    mkdir -p "$tools"
    npm install --prefix "$tools" --no-audit --no-fund --no-save pnpm@10 yarn@1 @yarnpkg/cli-dist@4 >/dev/null 2>&1 ||
        echo "tests: could not install pnpm and yarn (the tests that need them are skipped)"
fi
missing=""
command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
command -v strace >/dev/null 2>&1 || missing="$missing strace"
command -v faketime >/dev/null 2>&1 || missing="$missing faketime"
[ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || missing="$missing postgresql"
command -v skopeo >/dev/null 2>&1 || missing="$missing skopeo"
command -v buildah >/dev/null 2>&1 || missing="$missing buildah"
command -v docker-registry >/dev/null 2>&1 || missing="$missing docker-registry"
command -v dockerd >/dev/null 2>&1 || missing="$missing docker.io"
command -v sshd >/dev/null 2>&1 || [ -x /usr/sbin/sshd ] || missing="$missing openssh-server"
command -v ssh >/dev/null 2>&1 || missing="$missing openssh-client"
command -v mkfs.ext4 >/dev/null 2>&1 || [ -x /usr/sbin/mkfs.ext4 ] || missing="$missing e2fsprogs"
command -v busybox >/dev/null 2>&1 || missing="$missing busybox-static"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
command -v nsenter >/dev/null 2>&1 || missing="$missing util-linux"
if command -v apt-get >/dev/null 2>&1; then
    command -v gpg >/dev/null 2>&1 && command -v gpgconf >/dev/null 2>&1 || missing="$missing gnupg"
fi
command -v dnf >/dev/null 2>&1 || missing="$missing dnf"
command -v rpmbuild >/dev/null 2>&1 || missing="$missing rpm"
command -v createrepo_c >/dev/null 2>&1 || missing="$missing createrepo-c"
command -v zckdl >/dev/null 2>&1 || missing="$missing zchunk"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "tests: not root, so these are not installed:$missing (the tests that need them are skipped)"
    exit 0
fi
# Servers that a package brings must not start themselves.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qqy install --no-install-recommends $missing; } >/dev/null 2>&1; then
    echo "tests: could not install$missing (the tests that need them are skipped)"
fi
