"""What this machine is and has: cores, memory, folders, programs."""
