"""What a run meets on a machine: devices, SLURM, environment variables, imports, warm processes."""
