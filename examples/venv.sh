# Sourced by examples/run and tests/run: the newest Python, the .venv, and what is to be installed in it.
#
#   use_venv examples      what the examples need
#   use_venv dev           the examples' needs and the development tools
#
# Leaves the interpreter in $python. Downloads only what .venv lacks, after saying how much. Needs bash 3.2,
# Python and its own pip; runs in the repository's top folder.

needed='3.11'

# Every python3.N on the PATH, newest first, then whatever python3 is. A name may occur several times: a pyenv
# shim that fails may hide one that runs.
candidates() {
  local IFS=: folder file
  for folder in $PATH; do
    for file in "$folder"/python3.*; do
      case ${file##*/} in
        python3.*[!0-9]*) ;;
        *) [ -x "$file" ] && printf '%s\t%s\n' "${file##*.}" "$file" ;;
      esac
    done
  done | sort -s -k1,1nr | cut -f2
  for folder in $PATH; do
    [ -x "$folder/python3" ] && printf '%s\n' "$folder/python3"
  done
  return 0
}

# Whether an interpreter really runs, is a finished release and new enough.
runs() {
  "$1" -c "import sys; v = sys.version_info
sys.exit(v.releaselevel != 'final' or v[:2] < tuple(map(int, '$needed'.split('.'))))" >/dev/null 2>&1
}

find_python() {
  local candidate without=''
  while IFS= read -r candidate; do
    runs "$candidate" || continue
    if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return 0
    fi
    without=${without:-$candidate}
  done <<EOF
$(candidates)
EOF
  if [ -n "$without" ]; then
    echo "$without has no ensurepip, so it cannot make a .venv. On Debian and Ubuntu:" >&2
    echo "    sudo apt install python3-venv" >&2
  else
    echo "This needs Python $needed or newer, and none on the PATH runs." >&2
  fi
  return 1
}

make_venv() {
  local found
  if [ -e .venv ] && ! runs .venv/bin/python; then
    echo "The .venv here does not run (any more): making a new one."
    rm -rf .venv
  fi
  if [ ! -e .venv ]; then
    found=$(find_python) || return 1
    echo "Making .venv with $("$found" -V) ($found)."
    "$found" -m venv .venv
  fi
}

# The requirements as pip takes them, one a line. Read here and not by pip: --group came with pip 25.1.
requirements() {
  "$python" - "$1" <<'EOF'
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    groups = tomllib.load(file)["dependency-groups"]
dev = [line for line in groups["dev"] if not line.startswith("mlshared[")]
print("\n".join(["-e .[examples]", *(dev if sys.argv[1] == "dev" else [])]))
EOF
}

pip_install() {
  "$python" -m pip --disable-pip-version-check install --quiet --no-input --progress-bar off "$@"
}

use_venv() {
  local what=$1 stamp list
  make_venv || return 1
  python=$PWD/.venv/bin/python
  # A .venv made by another tool (uv) may have no pip.
  "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null || return 1
  stamp=.venv/installed-$what
  if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(cksum <pyproject.toml) $PWD" ]; then
    return 0
  fi
  list=.venv/requirements-$what.txt
  requirements "$what" >"$list" || return 1
  if ! pip_install --no-index --no-build-isolation -r "$list" >/dev/null 2>&1; then
    case $what in
      dev) echo "Installing into .venv, once: up to 160 MB to download, about 2 minutes." ;;
      *) echo "Installing into .venv, once: up to 130 MB to download, about a minute." ;;
    esac
    pip_install -r "$list" || { echo "pip could not install; its message is above." >&2; return 1; }
  fi
  echo "$(cksum <pyproject.toml) $PWD" >"$stamp"
}
