#!/bin/bash
# Installs what `make build` made.      scripts/install.sh /usr/local
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=$1
install -D -m 755 -t "$prefix/bin" build/wharf build/wharf-runtime
for shell in bash:share/bash-completion/completions/wharf zsh:share/zsh/site-functions/_wharf \
    fish:share/fish/vendor_completions.d/wharf.fish; do
    file=$prefix/${shell#*:}
    mkdir -p "$(dirname "$file")"
    build/wharf completion "${shell%%:*}" >"$file"
done
mkdir -p "$prefix/share/man/man1"
build/wharf internal man "$prefix/share/man/man1"
echo "installed wharf and wharf-runtime in $prefix/bin"
