export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # Newer versions of srun do not inherit it.
launch="${STORMDA_LAUNCH:-[srun]}"
