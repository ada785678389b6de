#!/usr/bin/env bash
# A single machine: work on the oldest cycle that is due. cron calls it; it is safe to call at any time.
#
{% include "_variables.txt" %}
#   STORMDA_LOG      where lines of JSON are added: logs/cycle.jsonl in that folder
#   OMP_NUM_THREADS  threads of the process: as many as there are
#
# Arguments go to `stormda cycle run`: key.sub=value, --cycle TIME.
set -euo pipefail
{% include "_setup.sh" %}
log="${STORMDA_LOG:-$STORMDA_PROJECT/logs/cycle.jsonl}"
mkdir -p -- "$(dirname -- "$log")"
exec "$STORMDA" cycle run -c "$STORMDA_CONFIG" --log-format json "$@" >/dev/null 2>>"$log"
