#!/bin/bash
# Checks attribution, netting and exported reports against independent packages, which are installed at test time and never
# vendored.
# usage: tests/attribution/run.sh PATH-TO-HUTONG [WORK-FOLDER]
# Needs Python 3.11 with venv, and a package index. Ends with 1 at the first difference.
set -euo pipefail

# The 10,000 paths are the sample data of this package; nothing of it is run.
readonly PATHS_PACKAGE=mta==0.0.9
readonly PATHS_FILE=mta/data/data.csv.gz

readonly HUTONG=$(realpath "${1:?usage: run.sh PATH-TO-HUTONG [WORK-FOLDER]}")
cd "$(dirname "$0")"
readonly WORK=${2:-../../target/attribution-check}
mkdir -p "$WORK"

if ! cmp --silent requirements.txt "$WORK/installed.txt"; then
    rm -rf "$WORK/venv"
    python3 -m venv "$WORK/venv"
    "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r requirements.txt
    cp requirements.txt "$WORK/installed.txt"
fi
readonly PYTHON="$WORK/venv/bin/python"

if [[ ! -f "$WORK/paths.csv" ]]; then
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$WORK/package" "$PATHS_PACKAGE"
    "$PYTHON" -m zipfile -e "$WORK"/package/mta-*.whl "$WORK/package"
    gzip -dc "$WORK/package/$PATHS_FILE" > "$WORK/paths.csv.part"
    mv "$WORK/paths.csv.part" "$WORK/paths.csv"
fi

"$PYTHON" compare_attribution.py "$HUTONG" "$WORK/paths.csv"
"$PYTHON" compare_netting.py "$HUTONG"
"$PYTHON" check_exports.py "$HUTONG"
