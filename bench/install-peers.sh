#!/bin/sh
# `make bench-peers`: what the benchmark compares with. Debian packages where we are root, verdaccio by npm, proxpi by
# pip. Nothing is started: servers that a package brings are kept from starting themselves. $1 is the folder for
# verdaccio and proxpi, $2 the Python that makes proxpi's virtual environment. What can't be installed is said, and
# the benchmark leaves it out.
set -u
folder=$1
python=${2:-python3}

missing=""
for pair in wrk:wrk nginx:nginx-light varnishd:varnish squid:squid docker-registry:docker-registry \
    apt-cacher-ng:apt-cacher-ng npm:npm perf:linux-perf; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ] && [ "$(id -u)" != 0 ]; then
    echo "bench: not root, so these are not installed:$missing"
elif [ -n "$missing" ]; then
    policy=/usr/sbin/policy-rc.d
    saved=""
    if [ -e "$policy" ]; then
        saved=$(mktemp) && cp -p "$policy" "$saved"
    fi
    restore() {
        if [ -n "$saved" ]; then cp -p "$saved" "$policy" && rm -f "$saved"; else rm -f "$policy"; fi
    }
    trap restore EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >/dev/null 2>&1
    # One by one, so that one that is not to be had does not keep the others out.
    for package in $missing; do
        apt-get -qqy install --no-install-recommends "$package" >/dev/null 2>&1 ||
            echo "bench: could not install $package"
    done
fi

mkdir -p "$folder"
# The newest that this machine's npm registry can give whole: a mirror may lack a tag that the newest depends on.
script=$folder/verdaccio/node_modules/.bin/verdaccio
for package in verdaccio verdaccio@6 verdaccio@5 verdaccio@4; do
    [ -x "$script" ] && break
    npm install --silent --no-audit --no-fund --prefix "$folder/verdaccio" "$package" >/dev/null 2>&1
done
[ -x "$script" ] || echo "bench: could not install verdaccio"
if [ ! -x "$folder/proxpi/bin/gunicorn" ]; then
    { "$python" -m venv "$folder/proxpi" && "$folder/proxpi/bin/pip" install --quiet proxpi gunicorn; } >/dev/null 2>&1 ||
        echo "bench: could not install proxpi"
fi
