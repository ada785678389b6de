if [ -n "${STORMDA_SETUP:-}" ]; then
    # shellcheck source=/dev/null
    . "$STORMDA_SETUP"
fi
program={{ program | sh }}
project={{ project | sh }}
STORMDA="${STORMDA:-$program}"
STORMDA_PROJECT="${STORMDA_PROJECT:-$project}"
STORMDA_CONFIG="${STORMDA_CONFIG:-$STORMDA_PROJECT/config.yaml}"
cd -- "$STORMDA_PROJECT"
if ! command -v -- "$STORMDA" >/dev/null; then
    echo "FATAL ERROR: the program is not there - file=$STORMDA; hint: set STORMDA, or write the jobs again where it is" >&2
    exit 1
fi
