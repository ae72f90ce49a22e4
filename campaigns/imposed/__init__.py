"""What a campaign makes of the machine, as levels of a factor: a busy neighbour, a slower CPU.

Facts about the machine as it is found are in `campaigns.environment`.
"""
