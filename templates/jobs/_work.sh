# Two minutes before its time limit the task ends in good order and is put back: what is done stays done.
# Where Slurm takes the node away (preemption, failure) it puts the task back itself (--requeue).
task="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"
task="${task:-$SLURM_JOB_ID}"
work=
end() {
    trap '' USR1 TERM
    [ -z "$work" ] || kill -TERM "$work" 2>/dev/null || true
    [ -z "$work" ] || wait "$work" || true
}
trap 'end; scontrol requeue "$task"; exit 0' USR1
trap 'end; exit 143' TERM
"$STORMDA" {{ verb }} -c "$STORMDA_CONFIG" --log-format json {{ arguments }}"$@" &
work=$!
code=0
wait "$work" || code=$?
[ "$code" -ne 4 ] || code=0 # another process is at work: nothing is lost
exit "$code"
