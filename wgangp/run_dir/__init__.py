"""The run directory: checkpoints, lock, status, logs, environment. All that writes or reads a run goes through here."""
