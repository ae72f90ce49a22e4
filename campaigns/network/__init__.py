"""Network conditions of trials: what a link does to bytes, presets, and a link emulator."""
