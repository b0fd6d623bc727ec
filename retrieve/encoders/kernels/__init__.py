"""Hardware-specific parts of the encoders: memory, precision, threads and faster layers for CPUs."""
