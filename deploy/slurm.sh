#!/bin/sh
# A Dask cluster on Slurm: sbatch --ntasks 8 --cpus-per-task 4 deploy/slurm.sh; see docs/howto/cluster.md.
#SBATCH --job-name=lungseg
#SBATCH --time=08:00:00
set -eu
file="$PWD/scheduler.json"
rm -f "$file"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# Dask's profiles of the last 1000 seconds would take memory of each worker.
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False
dask scheduler --scheduler-file "$file" --no-dashboard &
# One worker for each task; where there are GPUs, ask for one for each (--gpus-per-task 1).
srun dask worker --scheduler-file "$file" --nthreads 1 --no-dashboard
