"""Examples that run end to end; each is also a test. Not part of the wheel."""
