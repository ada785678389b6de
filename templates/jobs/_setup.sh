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
