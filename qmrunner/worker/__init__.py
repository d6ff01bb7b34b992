"""The consumer process: claims steps, runs their attempts, writes the heartbeat."""
