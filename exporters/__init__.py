"""What a node exports: energy of every pod, as metrics."""
