"""Text that makes a scheduler run `runark nightly`: units of systemd, lines of a crontab, scripts for Slurm."""
