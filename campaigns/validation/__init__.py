"""How right the energies are: measured against simulated nodes whose truth is known."""
