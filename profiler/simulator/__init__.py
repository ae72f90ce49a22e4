"""A node with known truth: what each consumer's energy is, and the files a real node would show."""
