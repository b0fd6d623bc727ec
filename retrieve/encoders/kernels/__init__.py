"""How a processor runs the encoders: memory, precision, threads and faster layers."""
